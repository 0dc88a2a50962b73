package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Paths of the lists that the stand-in answers, each also to be watched.
const (
	listPath     = "/api/v1/pods"
	herePath     = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1"
	servicePath  = "/api/v1/services"
	busyPath     = "/api/v1/namespaces/busy/pods"
	watchPath    = "/apis/discovery.k8s.io/v1/endpointslices"
	configPath   = "/api/v1/namespaces/kube-system/configmaps"
	eventSize    = 8192
	itemStampAt  = len(`{"metadata":{"resourceVersion":"`)
	stampDigits  = 19
	stampPattern = `{"metadata":{"resourceVersion":"%019d","name":%q,"namespace":%q,"uid":"6f1c1a2e-6d0b-4f0c-9a63-%012x",` +
		`"creationTimestamp":"2026-01-01T00:00:00Z",`
)

// set is one collection of the stand-in. Items are JSON without kind and apiVersion, as a list has them; their
// resourceVersion is the wall clock in nanoseconds, by which a reader of events knows how long each travelled.
type set struct {
	apiVersion, kind string
	count            int
	item             func(i int) []byte
	mu               sync.Mutex
	items            [][]byte
	version          int64
	body             []byte // of the list, until something changes
	watchers         map[chan []byte]struct{}
}

func (v *set) fill() {
	if v.items != nil || v.version != 0 {
		return
	}
	v.version = time.Now().UnixNano()
	v.items = make([][]byte, v.count)
	for i := range v.items {
		v.items[i] = v.item(i)
	}
}

// list returns the body of the whole list.
func (v *set) list() []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fill()
	if v.body == nil {
		var out bytes.Buffer
		fmt.Fprintf(&out, `{"kind":"%sList","apiVersion":%q,"metadata":{"resourceVersion":"%019d"},"items":[`, v.kind, v.apiVersion, v.version)
		out.Write(bytes.Join(v.items, []byte(",")))
		out.WriteString("]}\n")
		v.body = out.Bytes()
	}
	return v.body
}

// touch changes every object.
func (v *set) touch() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fill()
	for i := range v.items {
		v.change(i)
	}
}

// change gives one object a new version; the lock is held.
func (v *set) change(i int) []byte {
	v.version = max(v.version+1, time.Now().UnixNano())
	item := bytes.Clone(v.items[i])
	copy(item[itemStampAt:], fmt.Sprintf("%019d", v.version))
	v.items[i] = item
	v.body = nil
	return item
}

// send gives every open watch count events, rate per second, of the first objects one after the other.
func (v *set) send(count int, rate float64, objects int) {
	begin := time.Now()
	for i := range count {
		time.Sleep(time.Until(begin.Add(seconds(float64(i) / rate))))
		v.mu.Lock()
		v.fill()
		event := fmt.Appendf(nil, `{"type":"MODIFIED","object":{"kind":%q,"apiVersion":%q,%s}`+"\n", v.kind, v.apiVersion, v.change(i % min(objects, len(v.items)))[1:])
		for watcher := range v.watchers {
			select {
			case watcher <- event:
			case <-time.After(10 * time.Second): // a reader that stands still loses the event, and the run fails
			}
		}
		v.mu.Unlock()
	}
}

func (v *set) open() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.watchers)
}

// answerList sends the list as the API server does, without a length; with ?length=1 it names the length.
func (v *set) answerList(w http.ResponseWriter, r *http.Request) {
	body := v.list()
	if r.URL.Query().Get("length") != "" {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	apiHead(w)
	const write = 64 << 10
	for rest := body; len(rest) > 0; rest = rest[min(write, len(rest)):] {
		if _, err := w.Write(rest[:min(write, len(rest))]); err != nil {
			return
		}
	}
}

// answerWatch holds the request and passes on what `send` sends, each event flushed by itself.
func (v *set) answerWatch(w http.ResponseWriter, r *http.Request) {
	events := make(chan []byte, 4096)
	apiHead(w)
	w.WriteHeader(http.StatusOK)
	flusher, _ := w.(http.Flusher)
	flusher.Flush()
	v.mu.Lock()
	v.fill()
	v.watchers[events] = struct{}{}
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		delete(v.watchers, events)
		v.mu.Unlock()
	}()
	for {
		select {
		case event := <-events:
			if _, err := w.Write(event); err != nil {
				return
			}
			flusher.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// sets are the stand-in's collections by path.
func newSets() map[string]*set {
	eventFrame := len(fmt.Sprintf(`{"type":"MODIFIED","object":{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1",}`+"\n")) - 1
	out := map[string]*set{
		listPath:    {apiVersion: "v1", kind: "Pod", count: 5000, item: func(i int) []byte { return podItem(i, 2048) }},
		herePath:    {apiVersion: "v1", kind: "Pod", count: 10, item: func(i int) []byte { return podItem(i, 2048) }},
		servicePath: {apiVersion: "v1", kind: "Service", count: 1000, item: serviceItem},
		busyPath:    {apiVersion: "v1", kind: "Pod", count: 1000, item: func(i int) []byte { return podItem(i, 2048) }},
		watchPath: {apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", count: 1000, item: func(i int) []byte {
			if i == 0 { // the one of which events tell
				return sliceItem(i, 0, eventSize-eventFrame)
			}
			return sliceItem(i, 50, 0)
		}},
		configPath: {apiVersion: "v1", kind: "ConfigMap"},
	}
	for _, v := range out {
		v.watchers = map[chan []byte]struct{}{}
	}
	return out
}

func podItem(i, size int) []byte {
	head := fmt.Sprintf(stampPattern+`"labels":{"app":"web","pod-template-hash":"5d4f8c7b9"}},"spec":{"nodeName":"n1","containers":[{"name":"web",`+
		`"image":"registry.example/web:1.2.3","env":[`, time.Now().UnixNano(), fmt.Sprintf("web-%d", i), "default", i)
	tail := `]}]},"status":{"phase":"Running","podIP":"10.1.2.3"}}`
	return padded(head, tail, size, func(i int) string { return fmt.Sprintf(`{"name":"KEY_%03d","value":"value-%03d"}`, i, i) })
}

func serviceItem(i int) []byte {
	return fmt.Appendf(nil, stampPattern+`"labels":{"app":"web"}},"spec":{"clusterIP":"10.96.%d.%d","clusterIPs":["10.96.%d.%d"],"type":"ClusterIP",`+
		`"ports":[{"name":"http","protocol":"TCP","port":80,"targetPort":8080}],"selector":{"app":"web-%d"},"sessionAffinity":"None",`+
		`"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","internalTrafficPolicy":"Cluster"},"status":{"loadBalancer":{}}}`,
		time.Now().UnixNano(), fmt.Sprintf("web-%d", i), "default", i, i/250, i%250, i/250, i%250, i)
}

// sliceItem is an EndpointSlice with so many endpoints, or with as many as fit into size bytes.
func sliceItem(i, endpoints, size int) []byte {
	head := fmt.Sprintf(stampPattern+`"labels":{"kubernetes.io/service-name":"web-%d"}},"addressType":"IPv4",`+
		`"ports":[{"name":"http","port":8080,"protocol":"TCP"}],"endpoints":[`, time.Now().UnixNano(), fmt.Sprintf("web-%d-abcde", i), "default", i, i)
	one := func(j int) string {
		return fmt.Sprintf(`{"addresses":["10.%d.%d.%d"],"conditions":{"ready":true,"serving":true,"terminating":false},"nodeName":"node-%03d",`+
			`"zone":"a","targetRef":{"kind":"Pod","namespace":"default","name":"web-%d-%03d"}}`, i%250, j/250, j%250, j, i, j)
	}
	if endpoints > 0 {
		for j := range endpoints {
			size += len(one(j)) + 1
		}
		size += len(head) + 2
	}
	return padded(head, "]}", size, one)
}

// answerLease is the node's Lease: every write is taken, every answer is JSON.
func answerLease(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
	apiHead(w)
	_, _ = fmt.Fprintf(w, `{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"n1","namespace":"kube-node-lease",`+
		`"uid":"0d2f4b0e-9b5f-4a3c-8d0e-7f6a5b4c3d2e","resourceVersion":"%019d","creationTimestamp":"2026-01-01T00:00:00Z"},`+
		`"spec":{"holderIdentity":"n1","leaseDurationSeconds":40,"renewTime":%q}}`+"\n",
		time.Now().UnixNano(), time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
}
