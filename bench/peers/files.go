package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// filesCommand is Go's reverse proxy with a cache as OpenYurt lays it out: one JSON file for each object, by
// component, resource, namespace and name. What a kubelet reads is decoded into maps, and written object by
// object (a new file, then renamed; nothing is synced). Without the cloud it reads all files of a list, decodes
// and encodes them; -raw joins them as they are.
func filesCommand(args []string) error {
	flags := newFlags("files")
	pki := flags.String("pki", "", "folder of certificates")
	listen := flags.String("listen", "", "plain address")
	upstream := flags.String("upstream", "", "URL of the upstream")
	dir := flags.String("dir", "", "folder of the cache")
	raw := flags.Bool("raw", false, "neither decode nor encode what is read from files")
	_ = flags.Parse(args)
	target, err := url.Parse(*upstream)
	if err != nil {
		return err
	}
	transport, err := cloudTransport(*pki, false)
	if err != nil {
		return err
	}
	c := &cache{dir: *dir, raw: *raw}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.Transport = transport
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.ModifyResponse = c.tee
	proxy.ErrorHandler = func(w http.ResponseWriter, r *http.Request, _ error) { c.answer(w, r) }
	server := &http.Server{ErrorLog: proxy.ErrorLog, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.dark.Load() {
			c.answer(w, r)
			return
		}
		if kept(r) {
			r.Header.Set("Accept", "application/json")
			r.Header.Del("Accept-Encoding")
		}
		proxy.ServeHTTP(w, r)
	})}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go c.probe(&http.Client{Transport: transport, Timeout: 2 * time.Second}, *upstream)
	go func() { failed <- server.Serve(listener) }()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		failed <- nil
	}()
	return <-failed
}

type cache struct {
	dir  string
	raw  bool
	dark atomic.Bool
	// One list is written at a time.
	lists sync.Mutex
}

// probe looks every second whether the cloud is there.
func (c *cache) probe(client *http.Client, upstream string) {
	for ; ; time.Sleep(time.Second) {
		response, err := client.Get(upstream + "/readyz")
		if err == nil {
			_ = response.Body.Close()
		}
		c.dark.Store(err != nil)
	}
}

func kept(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasPrefix(r.UserAgent(), "kubelet/")
}

// tee passes every byte on and has a copy decoded and written beside it.
func (c *cache) tee(response *http.Response) error {
	request := response.Request
	if !kept(request) || response.StatusCode != http.StatusOK {
		return nil
	}
	place, name := c.place(request.URL.Path)
	if place == "" {
		return nil
	}
	reader, writer := io.Pipe()
	response.Body = &teed{Reader: io.TeeReader(response.Body, writer), body: response.Body, copy: writer}
	go func() {
		switch {
		case request.URL.Query().Get("watch") != "":
			c.follow(place, reader)
		case name != "":
			c.keepOne(place, reader)
		default:
			c.keepList(place, reader)
		}
		_, _ = io.Copy(io.Discard, reader)
	}()
	return nil
}

type teed struct {
	io.Reader
	body io.Closer
	copy *io.PipeWriter
}

func (t *teed) Close() error {
	_ = t.copy.Close()
	return t.body.Close()
}

// place is the folder of a resource, and the name of the object if one is asked for ("namespace/name").
func (c *cache) place(path string) (folder, name string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	group := "core"
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[1:]
	case len(parts) > 3 && parts[0] == "apis":
		group, parts = parts[1], parts[2:]
	default:
		return "", ""
	}
	version, parts := parts[0], parts[1:]
	namespace := ""
	if len(parts) > 2 && parts[0] == "namespaces" {
		namespace, parts = parts[1], parts[2:]
	}
	if len(parts) > 1 {
		name = namespace + "/" + parts[1]
	}
	return filepath.Join(c.dir, "kubelet", strings.Join([]string{parts[0], version, group}, ".")), name
}

type object = map[string]any

func (c *cache) keepList(place string, body io.Reader) {
	var list struct {
		Kind       string   `json:"kind"`
		APIVersion string   `json:"apiVersion"`
		Items      []object `json:"items"`
	}
	text, err := io.ReadAll(body)
	if err != nil || json.Unmarshal(text, &list) != nil {
		return
	}
	c.lists.Lock()
	defer c.lists.Unlock()
	former := place + ".former"
	_ = os.Rename(place, former)
	for _, item := range list.Items {
		item["kind"], item["apiVersion"] = strings.TrimSuffix(list.Kind, "List"), list.APIVersion
		c.write(place, item)
	}
	_ = os.RemoveAll(former)
}

func (c *cache) keepOne(place string, body io.Reader) {
	var found object
	if json.NewDecoder(body).Decode(&found) == nil {
		c.write(place, found)
	}
}

func (c *cache) follow(place string, body io.Reader) {
	lines := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var event struct {
			Type   string `json:"type"`
			Object object `json:"object"`
		}
		if json.Unmarshal(line, &event) == nil && event.Type == "MODIFIED" {
			c.write(place, event.Object)
		}
	}
}

// write encodes one object into a new file and puts it in the place of the former.
func (c *cache) write(place string, found object) {
	meta, _ := found["metadata"].(object)
	namespace, _ := meta["namespace"].(string)
	name, _ := meta["name"].(string)
	text, err := json.Marshal(found)
	if err != nil {
		return
	}
	folder := filepath.Join(place, namespace)
	path, fresh := filepath.Join(folder, name), filepath.Join(folder, "tmp_"+name)
	if err := os.WriteFile(fresh, text, 0o600); errors.Is(err, fs.ErrNotExist) {
		_ = os.MkdirAll(folder, 0o700)
		_ = os.WriteFile(fresh, text, 0o600)
	}
	_ = os.Rename(fresh, path)
}

// answer gives a get or list out of the files, in one piece.
func (c *cache) answer(w http.ResponseWriter, r *http.Request) {
	place, name := c.place(r.URL.Path)
	var body []byte
	var err error
	switch {
	case r.Method != http.MethodGet || place == "":
		err = errors.ErrUnsupported
	case name != "":
		body, err = c.one(filepath.Join(place, name))
	default:
		body, err = c.list(place)
	}
	if err != nil {
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":503}`, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Warning", `299 bench "from files"`)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

func (c *cache) one(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil || c.raw {
		return text, err
	}
	var found object
	if err := json.Unmarshal(text, &found); err != nil {
		return nil, err
	}
	return json.Marshal(found)
}

func (c *cache) list(place string) ([]byte, error) {
	var texts [][]byte
	err := filepath.WalkDir(place, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		texts = append(texts, text)
		return err
	})
	if err != nil || len(texts) == 0 {
		return nil, errors.Join(err, fs.ErrNotExist)
	}
	if c.raw {
		return join([]byte(`{"kind":"List","apiVersion":"v1","metadata":{},"items":[`), bytes.Join(texts, []byte(",")), []byte("]}\n")), nil
	}
	items := make([]object, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal(text, &items[i]); err != nil {
			return nil, err
		}
	}
	return json.Marshal(object{"kind": "List", "apiVersion": "v1", "metadata": object{}, "items": items})
}
