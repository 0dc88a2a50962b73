package main

import (
	"bytes"
	"fmt"
	"strings"
)

// Paths of single objects that the stand-in answers; the load asks for the same ones.
const (
	smallPath = "/api/v1/namespaces/default/pods/web-0"
	threePath = "/api/v1/nodes/n1"
	leasePath = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"
)

// smallPaths are the Pods of which the load asks one after the other.
func smallPaths() []string {
	out := make([]string, 8)
	for i := range out {
		out[i] = fmt.Sprintf("/api/v1/namespaces/default/pods/web-%d", i)
	}
	return out
}

// podOf returns one Pod as JSON of exactly size bytes.
func podOf(name string, size int) []byte {
	head := fmt.Sprintf(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":%q,"namespace":"default",`+
		`"uid":"6f1c1a2e-6d0b-4f0c-9a63-0d6b8a5c1e77","resourceVersion":"184467","creationTimestamp":"2026-01-01T00:00:00Z",`+
		`"labels":{"app":"web","pod-template-hash":"5d4f8c7b9"}},"spec":{"nodeName":"n1","containers":[{"name":"web",`+
		`"image":"registry.example/web:1.2.3","env":[`, name)
	tail := `]}]},"status":{"phase":"Running","podIP":"10.1.2.3"}}`
	return padded(head, tail, size, func(i int) string { return fmt.Sprintf(`{"name":"KEY_%03d","value":"value-%03d"}`, i, i) })
}

// padded fills the space between head and tail with list items, and what is left with spaces.
func padded(head, tail string, size int, item func(int) string) []byte {
	var out bytes.Buffer
	out.WriteString(head)
	for i := 0; ; i++ {
		next := item(i)
		if i > 0 {
			next = "," + next
		}
		if out.Len()+len(next)+len(tail) > size {
			break
		}
		out.WriteString(next)
	}
	out.WriteString(strings.Repeat(" ", max(0, size-out.Len()-len(tail))))
	out.WriteString(tail)
	return out.Bytes()
}

const stampKey = `"resourceVersion":"`
