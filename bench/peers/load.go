package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// outcome is what one run of load tells the harness. CPU is that of the processes under test, read at the
// first and the last instant of the measured window.
type outcome struct {
	Requests int64   `json:"requests"`
	Bytes    int64   `json:"bytes"`
	Errors   int64   `json:"errors"`
	Seconds  float64 `json:"seconds"`
	CPU      float64 `json:"cpu_s"`
	User     float64 `json:"user_s"`
	System   float64 `json:"system_s"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	// First is the median time until the first byte of an answer, where it was taken.
	First float64 `json:"first_ms,omitempty"`
	Error string  `json:"error,omitempty"`
	// Connections that the upstream held while watches were open.
	Connections int64 `json:"connections,omitempty"`
}

func (o *outcome) used(spent cpu) { o.CPU, o.User, o.System = spent.Total, spent.User, spent.System }

func (o *outcome) latencies(all []time.Duration) {
	o.P50, o.P99 = quantile(all, 0.5), quantile(all, 0.99)
}

// quantile sorts and gives milliseconds, 0 for nothing.
func quantile(all []time.Duration, q float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[int(q*float64(len(all)-1))]) / 1e6
}

// getCommand keeps one small GET in flight on each of its connections.
func getCommand(args []string) error {
	var c caller
	flags := newFlags("get")
	c.flags(flags, smallPath)
	conns := flags.Int("conns", 16, "connections")
	length := flags.Float64("seconds", 2, "measured time")
	warm := flags.Float64("warm", 0.3, "time before it")
	_ = flags.Parse(args)
	heads, err := c.heads()
	if err != nil {
		return err
	}
	config, err := c.tlsConfig()
	if err != nil {
		return err
	}
	workers := make([]*worker, *conns)
	for i := range workers {
		exchange, err := c.dial(heads, config)
		if err != nil {
			return err
		}
		workers[i] = &worker{exchange: exchange}
	}
	begin := time.Now().Add(seconds(*warm))
	end := begin.Add(seconds(*length))
	var group sync.WaitGroup
	for _, w := range workers {
		group.Go(func() { w.run(begin, end) })
	}
	time.Sleep(time.Until(begin))
	before := cpuOf(c.pids)
	time.Sleep(time.Until(end))
	out := outcome{Seconds: time.Since(begin).Seconds()}
	out.used(cpuOf(c.pids).since(before))
	group.Wait()
	var all []time.Duration
	for _, w := range workers {
		all = append(all, w.latencies...)
		out.Bytes += w.bytes
		if w.err != nil {
			out.Errors++
			out.Error = w.err.Error()
		}
	}
	out.Requests = int64(len(all))
	out.latencies(all)
	return printJSON(out)
}

type worker struct {
	exchange  *exchange
	latencies []time.Duration
	bytes     int64
	err       error
}

func (w *worker) run(begin, end time.Time) {
	w.latencies = make([]time.Duration, 0, 1<<14)
	_ = w.exchange.conn.SetDeadline(end.Add(10 * time.Second))
	defer func() { _ = w.exchange.conn.Close() }()
	last := time.Now()
	for last.Before(end) {
		n, err := w.exchange.do()
		now := time.Now()
		if err != nil {
			w.err = err
			return
		}
		if last.After(begin) {
			w.latencies = append(w.latencies, now.Sub(last))
			w.bytes += int64(n)
		}
		last = now
	}
}

// listCommand reads the long list again and again, with reads of 1 MB, and tells bytes of bodies.
func listCommand(args []string) error {
	var c caller
	flags := newFlags("list")
	c.flags(flags, listPath)
	conns := flags.Int("conns", 1, "connections")
	length := flags.Float64("seconds", 2, "measured time, at least one whole list for each connection")
	settle := flags.Bool("settle", false, "return when the processes under test are quiet again")
	_ = flags.Parse(args)
	client, err := c.client(1 << 20)
	if err != nil {
		return err
	}
	want, _, err := readList(&c, client, make([]byte, 1<<20)) // warm
	if err != nil {
		return err
	}
	var (
		out    outcome
		mu     sync.Mutex
		all    []time.Duration
		firsts []time.Duration
		group  sync.WaitGroup
	)
	begin, before := time.Now(), cpuOf(c.pids)
	for range *conns {
		group.Go(func() {
			buffer := make([]byte, 1<<20)
			for {
				start := time.Now()
				n, first, err := readList(&c, client, buffer)
				if err == nil && n != want {
					err = fmt.Errorf("list of %d bytes instead of %d", n, want)
				}
				mu.Lock()
				out.Bytes += n
				out.Requests++
				all = append(all, time.Since(start))
				firsts = append(firsts, first)
				if err != nil {
					out.Errors++
					out.Error = err.Error()
				}
				mu.Unlock()
				if err != nil || time.Since(begin) > seconds(*length) {
					return
				}
			}
		})
	}
	group.Wait()
	out.Seconds = time.Since(begin).Seconds()
	out.used(cpuOf(c.pids).since(before))
	out.latencies(all)
	out.First = quantile(firsts, 0.5)
	if *settle {
		untilQuiet(c.pids)
	}
	return printJSON(out)
}

// firstCommand asks until the first right answer comes and tells when that was (wall clock, nanoseconds).
func firstCommand(args []string) error {
	var c caller
	flags := newFlags("first")
	c.flags(flags, smallPath)
	patience := flags.Float64("patience", 30, "seconds")
	stored := flags.Bool("stored", false, "an answer is right only with the warning that it comes from a cache")
	_ = flags.Parse(args)
	heads, err := c.heads()
	if err != nil {
		return err
	}
	config, err := c.tlsConfig()
	if err != nil {
		return err
	}
	var problem error = errors.New("not tried")
	for end := time.Now().Add(seconds(*patience)); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		exchange, err := c.dial(heads, config)
		if err == nil {
			_ = exchange.conn.SetDeadline(time.Now().Add(5 * time.Second))
			n, failed := exchange.do()
			if err = failed; err == nil && *stored && indexFold(exchange.buffer[:n], warningLine) < 0 {
				err = errors.New("it does not come from a cache")
			}
			_ = exchange.conn.Close()
		}
		if err == nil {
			return printJSON(map[string]int64{"at": time.Now().UnixNano()})
		}
		problem = err
	}
	return fmt.Errorf("no answer: %w", problem)
}

// readList reads one list and tells its bytes and the time until the head of the answer.
func readList(c *caller, client *http.Client, buffer []byte) (int64, time.Duration, error) {
	begin := time.Now()
	response, err := c.request(client, c.path)
	if err != nil {
		return 0, 0, err
	}
	first := time.Since(begin)
	defer response.Body.Close()
	for total := int64(0); ; {
		n, err := response.Body.Read(buffer)
		total += int64(n)
		if errors.Is(err, io.EOF) {
			return total, first, nil
		}
		if err != nil {
			return total, first, err
		}
	}
}
