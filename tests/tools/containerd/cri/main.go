// Command cri sends requests of the Container Runtime Interface.
//
// cri SOCKET METHOD: one, as JSON on standard input; the answer as JSON on standard output.
//
// cri SOCKET METHOD many: a JSON list of them, all at once on one connection, as a kubelet does; the answers as a list
// in the same order, each with the nanoseconds it took.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	limit       = 60 * time.Second
	limitOfMany = 5 * time.Minute
	version     = "/runtime.v1.RuntimeService/Version"
)

// requests are the methods the tests use.
var requests = map[string][2]proto.Message{
	"Version":          {&cri.VersionRequest{}, &cri.VersionResponse{}},
	"RunPodSandbox":    {&cri.RunPodSandboxRequest{}, &cri.RunPodSandboxResponse{}},
	"PodSandboxStatus": {&cri.PodSandboxStatusRequest{}, &cri.PodSandboxStatusResponse{}},
	"StopPodSandbox":   {&cri.StopPodSandboxRequest{}, &cri.StopPodSandboxResponse{}},
	"RemovePodSandbox": {&cri.RemovePodSandboxRequest{}, &cri.RemovePodSandboxResponse{}},
	"CreateContainer":  {&cri.CreateContainerRequest{}, &cri.CreateContainerResponse{}},
	"StartContainer":   {&cri.StartContainerRequest{}, &cri.StartContainerResponse{}},
	"ContainerStatus":  {&cri.ContainerStatusRequest{}, &cri.ContainerStatusResponse{}},
	"Status":           {&cri.StatusRequest{}, &cri.StatusResponse{}},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	many := len(arguments) == 3 && arguments[2] == "many"
	if len(arguments) != 2 && !many {
		return fmt.Errorf("usage: cri SOCKET METHOD [many] < request.json")
	}
	method, ok := requests[arguments[1]]
	if !ok {
		return fmt.Errorf("no method %s", arguments[1])
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient("unix://"+arguments[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	client := client{connection, "/runtime.v1.RuntimeService/" + arguments[1], method}
	var output []byte
	if many {
		output, err = client.askMany(input)
	} else {
		output, err = client.ask(input, limit)
	}
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(output)
	return err
}

type client struct {
	connection *grpc.ClientConn
	path       string
	method     [2]proto.Message
}

func (c client) ask(input []byte, limit time.Duration) ([]byte, error) {
	request := c.method[0].ProtoReflect().New().Interface()
	answer := c.method[1].ProtoReflect().New().Interface()
	if err := protojson.Unmarshal(input, request); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := c.connection.Invoke(ctx, c.path, request, answer); err != nil {
		return nil, err
	}
	return protojson.Marshal(answer)
}

type outcome struct {
	Answer      json.RawMessage `json:"answer"`
	Nanoseconds int64           `json:"nanoseconds"`
}

// askMany fails if one of the requests does.
func (c client) askMany(input []byte) ([]byte, error) {
	var requests []json.RawMessage
	if err := json.Unmarshal(input, &requests); err != nil {
		return nil, err
	}
	// Connected before the first one is timed.
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := c.connection.Invoke(ctx, version, &cri.VersionRequest{}, &cri.VersionResponse{}); err != nil {
		return nil, err
	}
	outcomes := make([]outcome, len(requests))
	errs := make([]error, len(requests))
	var group sync.WaitGroup
	for i := range requests {
		group.Go(func() {
			start := time.Now()
			outcomes[i].Answer, errs[i] = c.ask(requests[i], limitOfMany)
			outcomes[i].Nanoseconds = time.Since(start).Nanoseconds()
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return json.Marshal(outcomes)
}
