package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

// proxyCommand is Go's own reverse proxy, as a program of today would use it: every write flushed, 256 idle
// connections to the upstream, HTTP/1.1 or HTTP/2 upstream, Go's default garbage collection.
func proxyCommand(args []string) error {
	flags := newFlags("proxy")
	dir := flags.String("pki", "", "folder of certificates")
	listen := flags.String("listen", "", "plain address")
	secure := flags.String("listen-tls", "", "address with TLS (none by default)")
	upstream := flags.String("upstream", "", "URL of the upstream")
	http2 := flags.Bool("h2", false, "HTTP/2 upstream")
	_ = flags.Parse(args)
	target, err := url.Parse(*upstream)
	if err != nil {
		return err
	}
	transport, err := cloudTransport(*dir, *http2)
	if err != nil {
		return err
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.Transport = transport
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	failed := make(chan error, 2)
	server := &http.Server{Handler: proxy, ErrorLog: log.New(io.Discard, "", 0)}
	plain, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	go func() { failed <- server.Serve(plain) }()
	if *secure != "" {
		// HTTP/1.1 alone on the local side, as the hub and nginx here speak it.
		config := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}
		over := &http.Server{Handler: proxy, TLSConfig: config, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
		over.ErrorLog = server.ErrorLog
		listener, err := net.Listen("tcp", *secure)
		if err != nil {
			return err
		}
		go func() { failed <- over.ServeTLS(listener, *dir+"/server.crt", *dir+"/server.key") }()
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		failed <- nil
	}()
	return <-failed
}

// cloudTransport reaches the upstream with 256 idle connections, or by HTTP/2.
func cloudTransport(dir string, http2 bool) (*http.Transport, error) {
	roots, err := rootsOf(dir)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		MaxIdleConnsPerHost: 256,
		DisableCompression:  true, // the caller's Accept-Encoding travels on, as through any proxy
		ForceAttemptHTTP2:   http2,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
	}
	if !http2 {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	return transport, nil
}

func rootsOf(dir string) (*x509.CertPool, error) {
	text, err := os.ReadFile(dir + "/ca.crt")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("ca.crt holds no certificate")
	}
	return roots, nil
}
