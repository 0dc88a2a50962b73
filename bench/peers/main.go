// benchpeer is every process of the benchmark that is not the candidate under test: the stand-in for an
// API server, Go's own reverse proxy as a peer, the load, and the certificates. Standard library only.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

var commands = map[string]func([]string) error{
	"pki":      pkiCommand,
	"upstream": upstreamCommand,
	"proxy":    proxyCommand,
	"files":    filesCommand,
	"get":      getCommand,
	"list":     listCommand,
	"keep":     keepCommand,
	"watch":    watchCommand,
	"rewatch":  rewatchCommand,
	"hold":     holdCommand,
	"lease":    leaseCommand,
	"first":    firstCommand,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		names := slices.Sorted(maps.Keys(commands))
		fmt.Fprintf(os.Stderr, "benchpeer %s [flags]\n", strings.Join(names, "|"))
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "benchpeer %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func newFlags(name string) *flag.FlagSet { return flag.NewFlagSet(name, flag.ExitOnError) }

func printJSON(value any) error { return json.NewEncoder(os.Stdout).Encode(value) }

// cpu reads how much processor time other processes have used so far: exactly, by their CPU clocks, and
// split into user and system time as /proc tells it (in ticks of 10 ms).
type cpu struct{ Total, User, System float64 }

func (c cpu) since(before cpu) cpu {
	return cpu{c.Total - before.Total, c.User - before.User, c.System - before.System}
}

func cpuOf(pids []int) cpu {
	var sum cpu
	for _, pid := range pids {
		// The kernel's number for "all CPU time of this process": see clock_getcpuclockid(3).
		clock := uintptr((^pid << 3) | 2)
		var ts syscall.Timespec
		if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&ts)), 0); errno == 0 {
			sum.Total += float64(ts.Sec) + float64(ts.Nsec)/1e9
		}
		user, system := ticksOf(pid)
		sum.User += user
		sum.System += system
	}
	return sum
}

func ticksOf(pid int) (user, system float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ = strconv.ParseFloat(fields[11], 64)
	system, _ = strconv.ParseFloat(fields[12], 64)
	return user / 100, system / 100
}

// numbers is a comma separated list of process ids on the command line.
type numbers []int

func (n *numbers) String() string { return fmt.Sprint(*n) }

func (n *numbers) Set(text string) error {
	for _, part := range strings.Split(text, ",") {
		number, err := strconv.Atoi(part)
		if err != nil {
			return err
		}
		*n = append(*n, number)
	}
	return nil
}

// untilQuiet returns when processes have done next to nothing for a third of a second, or after ten.
func untilQuiet(pids []int) {
	last, since := cpuOf(pids), time.Now()
	for end := since.Add(10 * time.Second); time.Now().Before(end) && time.Since(since) < 350*time.Millisecond; {
		time.Sleep(50 * time.Millisecond)
		if now := cpuOf(pids); now.since(last).Total > 0.002 {
			last, since = now, time.Now()
		}
	}
}

func seconds(text float64) time.Duration { return time.Duration(text * float64(time.Second)) }
