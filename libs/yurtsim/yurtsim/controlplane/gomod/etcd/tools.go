//go:build tools

// Package tools names etcd's command. It is a module of its own so that the
// versions etcd wants and those Kubernetes wants do not pull at each other.
package tools

import _ "go.etcd.io/etcd/server/v3"
