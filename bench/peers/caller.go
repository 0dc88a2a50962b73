package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// By the User-Agent a hub decides whether answers are kept: a kubelet's are, kubectl's are forwarded alone.
const (
	keptAgent      = "kubelet/v1.34.4 (linux/amd64) kubernetes/0123456789abcdef0123456789abcdef01234567"
	forwardedAgent = "kubectl/v1.34.4 (linux/amd64) kubernetes/0123456789abcdef0123456789abcdef01234567"
)

// caller is what all kinds of load share: where to, with which credential, whose CPU time to read.
type caller struct {
	address, path, pki, token string
	tls, kept                 bool
	pids                      numbers
}

func (c *caller) flags(set *flag.FlagSet, path string) {
	set.StringVar(&c.address, "address", "", "host:port of the proxy")
	set.StringVar(&c.path, "path", path, "path and query")
	set.StringVar(&c.pki, "pki", "", "folder of certificates")
	set.StringVar(&c.token, "token-file", "", "file of the bearer token (none by default)")
	set.BoolVar(&c.tls, "tls", false, "TLS to the proxy")
	set.BoolVar(&c.kept, "kept", false, "ask as a kubelet, whose answers are kept")
	set.Var(&c.pids, "pids", "processes whose CPU time is read")
}

func (c *caller) header() (http.Header, error) {
	agent := forwardedAgent
	if c.kept {
		agent = keptAgent
	}
	out := http.Header{"User-Agent": {agent}, "Accept": {"application/vnd.kubernetes.protobuf, */*"}}
	if c.token != "" {
		token, err := os.ReadFile(c.token)
		if err != nil {
			return nil, err
		}
		out.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	}
	return out, nil
}

// heads returns the bytes of GETs as a kubelet sends them; the small Pod's path stands for several Pods in turn.
func (c *caller) heads() ([][]byte, error) {
	header, err := c.header()
	if err != nil {
		return nil, err
	}
	header.Set("Accept-Encoding", "gzip")
	paths := []string{c.path}
	if c.path == smallPath {
		paths = smallPaths()
	}
	out := make([][]byte, len(paths))
	for i, path := range paths {
		var head bytes.Buffer
		fmt.Fprintf(&head, "GET %s HTTP/1.1\r\nHost: %s\r\n", path, c.address)
		if err := header.Write(&head); err != nil {
			return nil, err
		}
		head.WriteString("\r\n")
		out[i] = head.Bytes()
	}
	return out, nil
}

func (c *caller) tlsConfig() (*tls.Config, error) {
	if !c.tls {
		return nil, nil
	}
	roots, err := rootsOf(c.pki)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"}}, err
}

// client is net/http with large reads, HTTP/1.1 as local callers speak it.
func (c *caller) client(buffer int) (*http.Client, error) {
	config, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     config,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 256,
		ReadBufferSize:      buffer,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
	}}, nil
}

// request asks for a path and returns when the head of the answer is there.
func (c *caller) request(client *http.Client, path string) (*http.Response, error) {
	scheme := "http"
	if c.tls {
		scheme = "https"
	}
	header, err := c.header()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(http.MethodGet, scheme+"://"+c.address+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header = header
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	return response, nil
}

// exchange sends one GET over an open connection and reads the answer to its end; the cheapest code that
// still checks status and framing.
type exchange struct {
	conn   net.Conn
	heads  [][]byte
	turn   int
	buffer []byte
}

func (c *caller) dial(heads [][]byte, config *tls.Config) (*exchange, error) {
	conn, err := net.DialTimeout("tcp", c.address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if config != nil {
		conn = tls.Client(conn, config)
	}
	return &exchange{conn: conn, heads: heads, buffer: make([]byte, 256<<10)}, nil
}

var (
	okLine  = []byte("HTTP/1.1 200 ")
	length  = []byte("\r\ncontent-length: ")
	chunked = []byte("\r\ntransfer-encoding: chunked")

	warningLine = []byte("\r\nwarning: 299 ")
)

func (e *exchange) do() (int, error) {
	e.turn++
	if _, err := e.conn.Write(e.heads[e.turn%len(e.heads)]); err != nil {
		return 0, err
	}
	filled := 0
	for {
		n, err := e.conn.Read(e.buffer[filled:])
		filled += n
		if whole, problem := complete(e.buffer[:filled]); problem != nil || whole {
			return filled, problem
		}
		if err != nil {
			return 0, err
		}
		if filled == len(e.buffer) {
			return 0, errors.New("answer too long for a small GET")
		}
	}
}

// complete says whether text is one whole answer.
func complete(text []byte) (bool, error) {
	end := bytes.Index(text, headEnd)
	if end < 0 {
		return false, nil
	}
	if !bytes.HasPrefix(text, okLine) {
		line, _, _ := bytes.Cut(text, []byte("\r"))
		return false, fmt.Errorf("answer %q", line)
	}
	body := text[end+4:]
	if at := indexFold(text[:end], length); at >= 0 {
		digits, _, _ := bytes.Cut(text[at+len(length):end+2], []byte("\r"))
		size, err := strconv.Atoi(string(digits))
		return len(body) >= size, err
	}
	if indexFold(text[:end], chunked) >= 0 {
		return chunksEnd(body)
	}
	return false, errors.New("answer without framing")
}

func chunksEnd(body []byte) (bool, error) {
	for {
		line, rest, found := bytes.Cut(body, []byte("\r\n"))
		if !found {
			return false, nil
		}
		size, err := strconv.ParseUint(string(line), 16, 32)
		if err != nil {
			return false, err
		}
		if len(rest) < int(size)+2 {
			return false, nil
		}
		if size == 0 {
			return true, nil
		}
		body = rest[size+2:]
	}
}

// indexFold finds a lower-case line start in a head, whatever the case there.
func indexFold(head, want []byte) int {
	for at := 0; ; {
		next := bytes.IndexByte(head[at:], '\r')
		if next < 0 || at+next+len(want) > len(head) {
			return -1
		}
		at += next
		if bytes.EqualFold(head[at:at+len(want)], want) {
			return at
		}
		at++
	}
}
