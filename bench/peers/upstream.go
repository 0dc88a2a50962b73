package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// upstreamCommand is a stand-in for kube-apiserver: TLS 1.3 with client certificates asked for but not
// required, HTTP/1.1 and HTTP/2 with 100 streams to a connection, and the same without TLS. It answers with
// the header fields of a real one; like there, bodies over 2 KB are chunked over HTTP/1.1. Small GETs over
// HTTP/1.1 are answered by a loop of its own that costs a fraction of net/http, so that the processor that it
// shares with the load does not set the pace; every other request goes to net/http.
func upstreamCommand(args []string) error {
	flags := newFlags("upstream")
	dir := flags.String("pki", "", "folder of certificates")
	secure := flags.String("tls", "127.0.0.1:0", "address with TLS")
	plain := flags.String("plain", "127.0.0.1:0", "address without TLS")
	control := flags.String("control", "127.0.0.1:0", "address of counters and triggers")
	_ = flags.Parse(args)
	pair, err := tls.LoadX509KeyPair(*dir+"/server.crt", *dir+"/server.key")
	if err != nil {
		return err
	}
	s := newCloud(&tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"h2", "http/1.1"},
		ClientAuth:   tls.RequestClientCert,
	})
	listeners := make([]net.Listener, 3)
	for i, address := range []string{*secure, *plain, *control} {
		if listeners[i], err = net.Listen("tcp", address); err != nil {
			return err
		}
	}
	s.listeners = listeners[:2]
	failed := make(chan error, 4)
	for i, listener := range s.listeners {
		go func() {
			if err := s.accept(listener, i == 0); !s.dark.Load() {
				failed <- err
			}
		}()
	}
	go func() { failed <- s.server.Serve(s.handed) }()
	go func() { failed <- http.Serve(listeners[2], s.controlRoutes()) }()
	if err := printJSON(map[string]string{
		"tls": listeners[0].Addr().String(), "plain": listeners[1].Addr().String(), "control": listeners[2].Addr().String(),
	}); err != nil {
		return err
	}
	go func() { // the harness holds the other end: its end is ours
		_, _ = io.Copy(io.Discard, os.Stdin)
		failed <- nil
	}()
	return <-failed
}

// tally counts what reached the stand-in since it was last cleared. Bytes are those inside TCP.
type tally struct {
	Connections, Handshakes, HTTP2, Requests, BytesIn, BytesOut atomic.Int64
}

func (t *tally) clear() {
	for _, c := range []*atomic.Int64{&t.Connections, &t.Handshakes, &t.HTTP2, &t.Requests, &t.BytesIn, &t.BytesOut} {
		c.Store(0)
	}
}

type cloud struct {
	tlsConfig *tls.Config
	server    *http.Server
	handed    *handedOver
	small     map[string][]byte // whole answers, head and body
	sets      map[string]*set
	tally     tally
	mu        sync.Mutex
	open      map[*counted]struct{}
	listeners []net.Listener // those that callers reach
	dark      atomic.Bool
}

func newCloud(config *tls.Config) *cloud {
	s := &cloud{
		tlsConfig: config,
		handed:    &handedOver{conns: make(chan net.Conn), closed: make(chan struct{})},
		sets:      newSets(),
		open:      map[*counted]struct{}{},
	}
	routes := http.NewServeMux()
	three := podOf("n1", 3072)
	s.small = map[string][]byte{
		threePath: fmt.Appendf(nil, "HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", headLines(), len(three), three),
	}
	for i, path := range smallPaths() {
		pod := podOf(fmt.Sprintf("web-%d", i), 2048)
		s.small[path] = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", headLines(), len(pod), pod)
		routes.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { answer(w, pod) })
	}
	routes.HandleFunc("GET "+threePath, func(w http.ResponseWriter, _ *http.Request) { answer(w, three) })
	for _, path := range []string{listPath, servicePath, watchPath, busyPath, configPath} {
		routes.HandleFunc("GET "+path, s.answerSet)
	}
	routes.HandleFunc(leasePath, answerLease)
	routes.HandleFunc("POST /apis/authentication.k8s.io/v1/tokenreviews", answerReview)
	for _, path := range []string{"/readyz", "/livez", "/healthz"} {
		routes.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	}
	routes.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		apiHead(w)
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`))
	})
	s.server = &http.Server{
		TLSConfig:   config,
		IdleTimeout: 90 * time.Second,
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: 100},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.tally.Requests.Add(1)
			routes.ServeHTTP(w, r)
		}),
	}
	return s
}

var headFields = [][2]string{
	{"Audit-Id", "0f0cbd62-54f6-4f5a-9d33-0a3e4d9a6a4c"},
	{"Cache-Control", "no-cache, private"},
	{"Content-Type", "application/json"},
	{"X-Kubernetes-Pf-Flowschema-Uid", "5d0a6f0e-8b0d-4d0e-8f43-5c3f0b8f9d11"},
	{"X-Kubernetes-Pf-Prioritylevel-Uid", "a1d7a4f5-6f0c-4e7c-8c8a-6f2f4f8b7c22"},
}

func headLines() string {
	var out strings.Builder
	for _, field := range headFields {
		fmt.Fprintf(&out, "%s: %s\r\n", field[0], field[1])
	}
	fmt.Fprintf(&out, "Date: %s\r\n", time.Now().UTC().Format(http.TimeFormat))
	return out.String()
}

func apiHead(w http.ResponseWriter) {
	for _, field := range headFields {
		w.Header().Set(field[0], field[1])
	}
}

func answer(w http.ResponseWriter, body []byte) {
	apiHead(w)
	_, _ = w.Write(body)
}

// answerSet lists or watches. A selector of the API server's own is not evaluated: it names another set.
func (s *cloud) answerSet(w http.ResponseWriter, r *http.Request) {
	v := s.sets[r.URL.Path]
	query := r.URL.Query()
	if query.Get("fieldSelector") != "" && r.URL.Path == listPath {
		v = s.sets[herePath]
	}
	if query.Get("watch") != "" {
		v.answerWatch(w, r)
	} else {
		v.answerList(w, r)
	}
}

func answerReview(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
	apiHead(w)
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write([]byte(`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"authenticated":true,` +
		`"user":{"username":"system:serviceaccount:default:bench","groups":["system:serviceaccounts","system:authenticated"]}}}`))
}

// cut clears the counters and resets every connection.
func (s *cloud) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.clear()
	for conn := range s.open {
		if tcp, ok := conn.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Conn.Close()
	}
}

// goDark refuses and resets everybody from here on; counters and triggers can still be reached.
func (s *cloud) goDark() {
	s.dark.Store(true)
	for _, listener := range s.listeners {
		_ = listener.Close()
	}
	s.cut()
}

func (s *cloud) controlRoutes() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		open, watches := len(s.open), 0
		s.mu.Unlock()
		for path, v := range s.sets {
			if path != configPath { // the hub follows it for itself
				watches += v.open()
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]int64{
			"connections": s.tally.Connections.Load(), "handshakes": s.tally.Handshakes.Load(), "http2": s.tally.HTTP2.Load(),
			"requests": s.tally.Requests.Load(), "bytes_in": s.tally.BytesIn.Load(), "bytes_out": s.tally.BytesOut.Load(),
			"open": int64(open), "watches": int64(watches),
		})
	})
	routes.HandleFunc("POST /clear", func(http.ResponseWriter, *http.Request) { s.tally.clear() })
	routes.HandleFunc("POST /cut", func(http.ResponseWriter, *http.Request) { s.cut() })
	routes.HandleFunc("POST /dark", func(http.ResponseWriter, *http.Request) { s.goDark() })
	routes.HandleFunc("POST /touch", func(http.ResponseWriter, *http.Request) { s.sets[listPath].touch() })
	routes.HandleFunc("POST /send", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		count, _ := strconv.Atoi(query.Get("events"))
		rate, _ := strconv.ParseFloat(query.Get("rate"), 64)
		objects, _ := strconv.Atoi(query.Get("objects"))
		v := s.sets[query.Get("path")]
		if count <= 0 || rate <= 0 || objects <= 0 || v == nil {
			http.Error(w, "events, rate and objects must be positive, path that of a list", http.StatusBadRequest)
			return
		}
		go v.send(count, rate, objects)
	})
	return routes
}

// counted is a connection whose bytes are counted below TLS.
type counted struct {
	net.Conn
	cloud *cloud
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.cloud.tally.BytesIn.Add(int64(n))
	return n, err
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.cloud.tally.BytesOut.Add(int64(n))
	return n, err
}

func (c *counted) Close() error {
	c.cloud.mu.Lock()
	delete(c.cloud.open, c)
	c.cloud.mu.Unlock()
	return c.Conn.Close()
}

func (s *cloud) accept(listener net.Listener, secure bool) error {
	for {
		raw, err := listener.Accept()
		if err != nil {
			return err
		}
		conn := &counted{Conn: raw, cloud: s}
		s.tally.Connections.Add(1)
		s.mu.Lock()
		s.open[conn] = struct{}{}
		s.mu.Unlock()
		if secure {
			go s.serveTLS(tls.Server(conn, s.tlsConfig))
		} else {
			go s.serveHTTP1(conn)
		}
	}
}

func (s *cloud) serveTLS(conn *tls.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return
	}
	s.tally.Handshakes.Add(1)
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		s.tally.HTTP2.Add(1)
		s.handed.conns <- conn
		return
	}
	s.serveHTTP1(conn)
}

const auditIDAt = len("HTTP/1.1 200 OK\r\nAudit-Id: ")

var headEnd = []byte("\r\n\r\n")

// serveHTTP1 answers small GETs itself and hands the connection over to net/http at the first other request.
func (s *cloud) serveHTTP1(conn net.Conn) {
	buffer, filled := make([]byte, 16<<10), 0
	var answered uint64
	var reply []byte
	for {
		end := bytes.Index(buffer[:filled], headEnd)
		if end < 0 {
			if filled == len(buffer) {
				_ = conn.Close()
				return
			}
			n, err := conn.Read(buffer[filled:])
			filled += n
			if err != nil {
				_ = conn.Close()
				return
			}
			continue
		}
		known := s.smallAnswer(buffer[:end])
		if known == nil {
			s.handed.conns <- &begun{Conn: conn, rest: bufio.NewReader(io.MultiReader(bytes.NewReader(buffer[:filled]), conn))}
			return
		}
		s.tally.Requests.Add(1)
		answered++
		reply = append(reply[:0], known...)
		digits := strconv.AppendUint(nil, 1<<32+answered&0xffffffff, 16)
		copy(reply[auditIDAt:], digits[1:]) // no two heads are alike, as with the real one
		if _, err := conn.Write(reply); err != nil {
			_ = conn.Close()
			return
		}
		filled = copy(buffer, buffer[end+4:filled])
	}
}

func (s *cloud) smallAnswer(head []byte) []byte {
	if !bytes.HasPrefix(head, []byte("GET /")) || bytes.Contains(head, []byte("onnection: close")) {
		return nil
	}
	target, _, found := bytes.Cut(head[4:], []byte(" "))
	if !found {
		return nil
	}
	return s.small[string(target)]
}

// begun is a connection of which some bytes were read already.
type begun struct {
	net.Conn
	rest *bufio.Reader
}

func (b *begun) Read(p []byte) (int, error) { return b.rest.Read(p) }

// handedOver is the listener through which net/http gets its connections.
type handedOver struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handedOver) Close() error   { close(h.closed); return nil }
func (h *handedOver) Addr() net.Addr { return &net.TCPAddr{} }
