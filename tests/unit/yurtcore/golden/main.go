// Prints what Kubernetes' own parsers say, one JSON object per line, about the questions on standard input:
// {"kind":"url","text":"/api/v1/pods","method":"GET"}, "labels" and "fields" with "set", "dur" with "text".
// The answers stand in *.jsonl beside this file. Build with k8s.io/apiserver v0.34.4 in go.mod.
package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
)

type in struct {
	Kind, Text, Method string
	Set                map[string]string
}

func main() {
	f := &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	sc := bufio.NewScanner(os.Stdin)
	sc.Buffer(make([]byte, 1<<20), 1<<20)
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	for sc.Scan() {
		var i in
		if err := json.Unmarshal(sc.Bytes(), &i); err != nil {
			panic(err)
		}
		out := map[string]any{}
		switch i.Kind {
		case "url":
			u, err := url.ParseRequestURI(i.Text)
			if err != nil {
				out["bad"] = err.Error()
				break
			}
			r, err := f.NewRequestInfo(&http.Request{Method: i.Method, URL: u})
			out["err"] = err != nil
			out["is"] = r.IsResourceRequest
			out["verb"] = r.Verb
			out["group"] = r.APIGroup
			out["version"] = r.APIVersion
			out["ns"] = r.Namespace
			out["resource"] = r.Resource
			out["sub"] = r.Subresource
			out["name"] = r.Name
			out["path"] = r.Path
			out["query"] = u.Query()
		case "labels":
			s, err := labels.Parse(i.Text)
			if err != nil {
				out["bad"] = err.Error()
				break
			}
			out["text"] = s.String()
			out["match"] = s.Matches(labels.Set(i.Set))
		case "fields":
			s, err := fields.ParseSelector(i.Text)
			if err != nil {
				out["bad"] = err.Error()
				break
			}
			out["text"] = s.String()
			out["match"] = s.Matches(fields.Set(i.Set))
		case "dur":
			d, err := time.ParseDuration(i.Text)
			if err != nil {
				out["bad"] = err.Error()
				break
			}
			out["s"] = d.Seconds()
			out["text"] = d.String()
		}
		enc.Encode(out)
	}
}
