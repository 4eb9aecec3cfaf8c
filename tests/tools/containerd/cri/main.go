// Command cri sends one request of the Container Runtime Interface: cri SOCKET METHOD, with the request as JSON on
// standard input and the answer as JSON on standard output.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const limit = 60 * time.Second

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
	if len(arguments) != 2 {
		return fmt.Errorf("usage: cri SOCKET METHOD < request.json")
	}
	method, ok := requests[arguments[1]]
	if !ok {
		return fmt.Errorf("no method %s", arguments[1])
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal(input, method[0]); err != nil {
		return err
	}
	connection, err := grpc.NewClient("unix://"+arguments[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := connection.Invoke(ctx, "/runtime.v1.RuntimeService/"+arguments[1], method[0], method[1]); err != nil {
		return err
	}
	output, err := protojson.Marshal(method[1])
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(output)
	return err
}
