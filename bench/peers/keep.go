package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// keepCommand has the long list kept three times by a fresh process under test: for the first time, after
// every object has changed, and unchanged. Processor time is counted until the processes are quiet again.
func keepCommand(args []string) error {
	var c caller
	flags := newFlags("keep")
	c.flags(flags, listPath)
	control := flags.String("control", "", "control address of the upstream")
	_ = flags.Parse(args)
	client, err := c.client(1 << 20)
	if err != nil {
		return err
	}
	if err := post(*control, "/touch"); err != nil { // so that the upstream has everything in memory
		return err
	}
	out := map[string]any{"errors": 0}
	for _, turn := range []string{"first", "changed", "same"} {
		if turn == "changed" {
			if err := post(*control, "/touch"); err != nil {
				return err
			}
		}
		untilQuiet(c.pids)
		before, begin := cpuOf(c.pids), time.Now()
		size, _, err := readList(&c, client, make([]byte, 1<<20))
		if err != nil {
			return err
		}
		out[turn+"_ms"] = time.Since(begin).Seconds() * 1e3
		untilQuiet(c.pids)
		out[turn+"_cpu_s"] = cpuOf(c.pids).since(before).Total
		out["bytes"] = size
	}
	return printJSON(out)
}

// holdCommand lists, opens watches, says so in one line and holds them until its input ends.
func holdCommand(args []string) error {
	var c caller
	flags := newFlags("hold")
	c.flags(flags, watchPath)
	watchers := flags.Int("watchers", 50, "watches")
	_ = flags.Parse(args)
	client, err := c.client(4 << 10)
	if err != nil {
		return err
	}
	bodies, err := openAll(&c, client, *watchers)
	if err != nil {
		return err
	}
	for _, body := range bodies {
		go func() { _, _ = io.Copy(io.Discard, body.Body) }()
	}
	untilQuiet(c.pids)
	if err := printJSON(map[string]int{"open": len(bodies)}); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// leaseCommand renews the node's Lease over one connection, in protobuf as a kubelet does.
func leaseCommand(args []string) error {
	var c caller
	flags := newFlags("lease")
	c.flags(flags, leasePath)
	length := flags.Float64("seconds", 4, "measured time")
	rate := flags.Float64("rate", 100, "renewals a second")
	_ = flags.Parse(args)
	header, err := c.header()
	if err != nil {
		return err
	}
	header.Set("Content-Type", "application/vnd.kubernetes.protobuf")
	exchange, err := c.dial(nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = exchange.conn.Close() }()
	_ = exchange.conn.SetDeadline(time.Now().Add(seconds(*length) + 20*time.Second))
	var out outcome
	var all []time.Duration
	const warm = 20
	begin, before := time.Now(), cpuOf(c.pids)
	for i := range warm + int(*length**rate) {
		time.Sleep(time.Until(begin.Add(seconds(float64(i) / *rate))))
		exchange.heads = [][]byte{put(c.address, header, leaseOf(time.Now()))}
		start := time.Now()
		n, err := exchange.do()
		if err != nil {
			return err
		}
		if i >= warm {
			all = append(all, time.Since(start))
			out.Bytes += int64(n)
		}
	}
	out.Seconds = time.Since(begin).Seconds()
	out.used(cpuOf(c.pids).since(before))
	out.Requests = int64(len(all))
	out.latencies(all)
	return printJSON(out)
}

func put(address string, header http.Header, body []byte) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "PUT %s?timeout=10s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", leasePath, address, len(body))
	_ = header.Write(&out)
	out.WriteString("\r\n")
	out.Write(body)
	return out.Bytes()
}

// leaseOf is a Lease as protobuf: an envelope (runtime.Unknown) around coordination/v1.
func leaseOf(at time.Time) []byte {
	meta := join(text(1, "n1"), text(3, "kube-node-lease"), text(5, "0d2f4b0e-9b5f-4a3c-8d0e-7f6a5b4c3d2e"), text(6, "184500"))
	renewed := join(number(1, uint64(at.Unix())), number(2, uint64(at.Nanosecond()/1000*1000)))
	spec := join(text(1, "n1"), number(2, 40), part(4, renewed))
	kind := join(text(1, "coordination.k8s.io/v1"), text(2, "Lease"))
	return join([]byte("k8s\x00"), part(1, kind), part(2, join(part(1, meta), part(2, spec))))
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func part(field uint64, value []byte) []byte {
	out := binary.AppendUvarint(nil, field<<3|2)
	out = binary.AppendUvarint(out, uint64(len(value)))
	return append(out, value...)
}

func text(field uint64, value string) []byte { return part(field, []byte(value)) }

func number(field, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, field<<3), value)
}
