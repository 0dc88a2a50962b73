package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// Paths that the stand-in answers; the load asks for the same ones.
const (
	smallPath = "/api/v1/namespaces/default/pods/web-0"
	threePath = "/api/v1/nodes/n1"
	listPath  = "/api/v1/pods"
	watchPath = "/apis/discovery.k8s.io/v1/endpointslices"
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

// podList returns a PodList of count items of size bytes each.
func podList(count, size int) []byte {
	var out bytes.Buffer
	out.WriteString(`{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"184500"},"items":[`)
	for i := range count {
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(podOf(fmt.Sprintf("web-%d", i), size))
	}
	out.WriteString("]}\n")
	return out.Bytes()
}

// eventOf returns one watch event of exactly size bytes. Its resourceVersion is the wall clock in
// nanoseconds, by which the reader knows how long the event travelled.
func eventOf(size int) []byte {
	head := fmt.Sprintf(`{"type":"MODIFIED","object":{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{`+
		`"resourceVersion":"%019d","name":"web-abcde","namespace":"default","labels":{"kubernetes.io/service-name":"web"}},`+
		`"addressType":"IPv4","ports":[{"name":"http","port":8080,"protocol":"TCP"}],"endpoints":[`, time.Now().UnixNano())
	return padded(head, "]}}\n", size, func(i int) string {
		return fmt.Sprintf(`{"addresses":["10.0.%d.%d"],"conditions":{"ready":true,"serving":true,"terminating":false},`+
			`"nodeName":"node-%03d","zone":"a","targetRef":{"kind":"Pod","name":"web-%03d"}}`, i/250, i%250, i, i)
	})
}

const stampKey = `"resourceVersion":"`

// stamped copies an event and writes the time of its sending into it.
func stamped(event []byte) []byte {
	out := bytes.Clone(event)
	at := bytes.Index(out, []byte(stampKey)) + len(stampKey)
	copy(out[at:at+19], fmt.Sprintf("%019d", time.Now().UnixNano()))
	return out
}
