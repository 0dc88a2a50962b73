// Command kubemark is a hollow kubelet or kube-proxy: the real code with stand-in
// containers. It takes the flags of Kubernetes' command of that name which the local
// site uses, and differs in two things: the kubelet listens on loopback only and
// without its debugging handlers (the original offers /var/log and exec to the whole
// network, unasked), and the stand-in runtime is called directly, without a socket.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	fakeremote "k8s.io/cri-client/pkg/fake"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	cadvisortest "k8s.io/kubernetes/pkg/kubelet/cadvisor/testing"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	"k8s.io/kubernetes/pkg/kubemark"
	proxy "k8s.io/kubernetes/pkg/proxy/kubemark"
)

const loopback = "127.0.0.1"

// labels is a flag of the form key=value,key=value.
type labels map[string]string

func (l labels) String() string { return "" }

func (l labels) Set(text string) error {
	for _, pair := range strings.Split(text, ",") {
		key, value, found := strings.Cut(pair, "=")
		if !found {
			return fmt.Errorf("%q is not key=value", pair)
		}
		l[key] = value
	}
	return nil
}

func main() {
	nodeLabels := labels{}
	morph := flag.String("morph", "", "what to be: kubelet or proxy")
	name := flag.String("name", "", "name of the node")
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	port := flag.Int("kubelet-port", 10250, "the kubelet's port on loopback")
	readOnly := flag.Int("kubelet-read-only-port", 10255, "the kubelet's port for health and metrics on loopback")
	maxPods := flag.Int("max-pods", 110, "how many pods the node takes")
	flag.Var(nodeLabels, "node-labels", "labels of the node: key=value,key=value")
	flag.Bool("use-host-image-service", false, "accepted for the original's sake; images are always stand-ins")
	klog.InitFlags(nil)
	flag.Parse()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err == nil {
		config.ContentType = "application/vnd.kubernetes.protobuf"
		config.QPS, config.Burst = 10, 20
		switch *morph {
		case "kubelet":
			err = runKubelet(config, &kubemark.HollowKubeletOptions{
				NodeName:            *name,
				KubeletPort:         *port,
				KubeletReadOnlyPort: *readOnly,
				MaxPods:             *maxPods,
				NodeLabels:          nodeLabels,
			})
		case "proxy":
			err = runProxy(config, *name)
		default:
			err = fmt.Errorf("--morph=%s: say kubelet or proxy", *morph)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// runKubelet never returns without an error.
func runKubelet(config *rest.Config, options *kubemark.HollowKubeletOptions) error {
	flags, settings := kubemark.GetHollowKubeletConfig(options)
	settings.Address = loopback
	settings.EnableDebuggingHandlers = false

	config.UserAgent = "hollow-kubelet"
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return err
	}
	// As in the kubelet: renewals are not held back by other requests, and give up in time for the next.
	beats := *config
	beats.QPS = -1
	beats.Timeout = min(settings.NodeStatusUpdateFrequency.Duration,
		time.Duration(settings.NodeLeaseDurationSeconds)*time.Second)
	beatClient, err := clientset.NewForConfig(&beats)
	if err != nil {
		return err
	}
	runtime := fakeremote.NewFakeRemoteRuntime()
	runtime.RuntimeService.FakeStatus = &cri.RuntimeStatus{Conditions: []*cri.RuntimeCondition{
		{Type: cri.RuntimeReady, Status: true},
		{Type: cri.NetworkReady, Status: true},
	}}
	kubemark.NewHollowKubelet(
		flags,
		settings,
		client,
		beatClient,
		&cadvisortest.Fake{NodeName: options.NodeName},
		runtime.ImageService,
		runtime.RuntimeService,
		cm.NewStubContainerManager(),
	).Run(context.Background())
	return fmt.Errorf("the kubelet ended")
}

// runProxy never returns without an error.
func runProxy(config *rest.Config, name string) error {
	config.UserAgent = "hollow-proxy"
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return err
	}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	recorder := broadcaster.NewRecorder(legacyscheme.Scheme, "kube-proxy")
	if err := proxy.NewHollowProxy(name, client, client.CoreV1(), broadcaster, recorder).Run(); err != nil {
		return err
	}
	return fmt.Errorf("the proxy ended")
}
