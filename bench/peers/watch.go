package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const watchQuery = "?watch=true&allowWatchBookmarks=true&timeoutSeconds=527&resourceVersion="

// watchCommand opens watches through the proxy, lets the upstream send its events to each and reads them all.
func watchCommand(args []string) error {
	var c caller
	flags := newFlags("watch")
	c.flags(flags, watchPath)
	watchers := flags.Int("watchers", 1, "watches")
	upstream := flags.Int("upstream", 0, "watches that the upstream then holds (0: as many)")
	events := flags.Int("events", 800, "events for each")
	objects := flags.Int("objects", 1, "objects of which the events tell in turn")
	settle := flags.Bool("settle", false, "count the processor time until the processes under test are quiet again")
	rate := flags.Float64("rate", 400, "events a second")
	control := flags.String("control", "", "control address of the upstream")
	_ = flags.Parse(args)
	client, err := c.client(64 << 10)
	if err != nil {
		return err
	}
	bodies, err := openAll(&c, client, *watchers)
	if err != nil {
		return err
	}
	if *upstream == 0 {
		*upstream = *watchers
	}
	if err := waitForWatches(*control, *upstream); err != nil {
		return err
	}
	if c.kept {
		untilQuiet(c.pids) // what was listed is still being written
	}
	var (
		out   outcome
		mu    sync.Mutex
		all   []time.Duration
		group sync.WaitGroup
	)
	begin, before := time.Now(), cpuOf(c.pids)
	guard := time.AfterFunc(seconds(float64(*events) / *rate)+60*time.Second, func() {
		for _, body := range bodies {
			_ = body.Body.Close()
		}
	})
	defer guard.Stop()
	for _, body := range bodies {
		group.Go(func() {
			latencies, bytes, err := readEvents(body, *events)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, latencies...)
			out.Bytes += bytes
			if err != nil {
				out.Errors++
				out.Error = err.Error()
			}
		})
	}
	if err := post(*control, fmt.Sprintf("/send?events=%d&rate=%g&objects=%d&path=%s", *events, *rate, *objects, c.path)); err != nil {
		return err
	}
	group.Wait()
	out.Seconds = time.Since(begin).Seconds()
	if *settle {
		untilQuiet(c.pids)
	}
	out.used(cpuOf(c.pids).since(before))
	out.Requests = int64(len(all))
	out.latencies(all)
	now, err := stats(*control)
	if err != nil {
		return err
	}
	out.Connections = now["open"]
	return printJSON(out)
}

// openAll watches; who asks as a kubelet lists once before, and watches from there.
func openAll(c *caller, client *http.Client, count int) ([]*http.Response, error) {
	version := "184500"
	if c.kept {
		var err error
		if version, err = listed(c, client); err != nil {
			return nil, err
		}
	}
	bodies := make([]*http.Response, count)
	errs := make([]error, count)
	var group sync.WaitGroup
	for i := range count {
		group.Go(func() { bodies[i], errs[i] = c.request(client, c.path+watchQuery+version) })
	}
	group.Wait()
	return bodies, firstOf(errs)
}

// listed reads a list to its end and returns its version.
func listed(c *caller, client *http.Client) (string, error) {
	response, err := c.request(client, c.path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	_, rest, found := bytes.Cut(body[:min(300, len(body))], []byte(stampKey))
	version, _, closed := bytes.Cut(rest, []byte(`"`))
	if !found || !closed {
		return "", fmt.Errorf("a list without a version: %.60q", body)
	}
	return string(version), nil
}

// firstOf tells one error for all.
func firstOf(errs []error) error {
	failed := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d watches failed: %w", len(failed), failed[0])
}

func readEvents(response *http.Response, count int) ([]time.Duration, int64, error) {
	lines := bufio.NewReaderSize(response.Body, 64<<10)
	latencies, total := make([]time.Duration, 0, count), int64(0)
	for len(latencies) < count {
		line, err := lines.ReadSlice('\n')
		total += int64(len(line))
		if err != nil {
			return latencies, total, fmt.Errorf("after %d events: %w", len(latencies), err)
		}
		if bytes.HasPrefix(line, bookmark) {
			continue
		}
		at := bytes.Index(line[:min(300, len(line))], []byte(stampKey))
		if at < 0 {
			return latencies, total, fmt.Errorf("not an event: %.60q", line)
		}
		sent, err := strconv.ParseInt(string(line[at+len(stampKey):at+len(stampKey)+19]), 10, 64)
		if err != nil {
			return latencies, total, err
		}
		latencies = append(latencies, time.Duration(time.Now().UnixNano()-sent))
	}
	return latencies, total, nil
}

var bookmark = []byte(`{"type":"BOOKMARK"`)

// rewatchCommand holds watches, has the upstream's connections reset, opens the watches again as soon as they
// end and tells what that cost at the upstream.
func rewatchCommand(args []string) error {
	var c caller
	flags := newFlags("rewatch")
	c.flags(flags, watchPath)
	watchers := flags.Int("watchers", 40, "watches")
	control := flags.String("control", "", "control address of the upstream")
	_ = flags.Parse(args)
	client, err := c.client(64 << 10)
	if err != nil {
		return err
	}
	bodies, err := openAll(&c, client, *watchers)
	if err != nil {
		return err
	}
	if err := waitForWatches(*control, *watchers); err != nil {
		return err
	}
	first, err := stats(*control)
	if err != nil {
		return err
	}
	var refused atomic.Int64
	var group sync.WaitGroup
	reopened := make([]*http.Response, len(bodies))
	errs := make([]error, len(bodies))
	begin, before := time.Now(), cpuOf(c.pids)
	if err := post(*control, "/cut"); err != nil {
		return err
	}
	for i, body := range bodies {
		group.Go(func() { reopened[i], errs[i] = again(&c, client, body, &refused) })
	}
	group.Wait()
	if err := firstOf(errs); err != nil {
		return err
	}
	if err := waitForWatches(*control, *watchers); err != nil {
		return err
	}
	took := time.Since(begin)
	spent := cpuOf(c.pids).since(before)
	time.Sleep(300 * time.Millisecond) // what still trickles in (session tickets, acknowledgements) is counted too
	second, err := stats(*control)
	if err != nil {
		return err
	}
	return printJSON(map[string]any{
		"seconds": took.Seconds(), "cpu_s": spent.Total, "user_s": spent.User, "system_s": spent.System,
		"refused": refused.Load(), "before": first, "after": second, "errors": 0,
	})
}

// again reads a watch to its end and opens the next, with the short random waits of a patient client.
func again(c *caller, client *http.Client, response *http.Response, refused *atomic.Int64) (*http.Response, error) {
	guard := time.AfterFunc(30*time.Second, func() { _ = response.Body.Close() })
	defer guard.Stop()
	for buffer := make([]byte, 4096); ; {
		if _, err := response.Body.Read(buffer); err != nil {
			break
		}
	}
	_ = response.Body.Close()
	var problem error
	for attempt := range 60 {
		next, err := c.request(client, c.path+watchQuery+"184500")
		if err == nil {
			return next, nil
		}
		refused.Add(1)
		problem = err
		time.Sleep(time.Duration(min(attempt+1, 20))*10*time.Millisecond + rand.N(20*time.Millisecond))
	}
	return nil, problem
}

func post(control, path string) error {
	response, err := http.Post("http://"+control+path, "", nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", path, response.StatusCode)
	}
	return nil
}

func stats(control string) (map[string]int64, error) {
	response, err := http.Get("http://" + control + "/stats")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	out := map[string]int64{}
	return out, json.NewDecoder(response.Body).Decode(&out)
}

// waitForWatches returns when the upstream holds as many watches as were opened.
func waitForWatches(control string, count int) error {
	var seen int64
	for range 2000 {
		now, err := stats(control)
		if err != nil {
			return err
		}
		if seen = now["watches"]; seen >= int64(count) {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("upstream holds %d watches, not %d", seen, count)
}
