package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	rpc "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/selfsigned"
)

// text is a message.
type text = wrapperspb.StringValue

// echoService answers what it is sent: one message, or a stream of them.
var echoService = grpc.ServiceDesc{
	ServiceName: "test.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Say",
		Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(text)
			if err := decode(in); err != nil {
				return nil, err
			}
			if in.Value == "bad" {
				return nil, rpc.Error(codes.InvalidArgument, "no such word: 100%")
			}
			md, _ := metadata.FromIncomingContext(ctx)
			_ = grpc.SetHeader(ctx, metadata.Pairs("x-head", strings.Join(md.Get("x-ask"), ",")))
			_ = grpc.SetTrailer(ctx, metadata.Pairs("x-tail", "end"))
			return in, nil
		},
	}},
	Streams: []grpc.StreamDesc{{
		StreamName: "Talk", ServerStreams: true, ClientStreams: true,
		Handler: func(_ any, stream grpc.ServerStream) error {
			for {
				in := new(text)
				if err := stream.RecvMsg(in); errors.Is(err, io.EOF) {
					return rpc.Error(codes.ResourceExhausted, "that was all")
				} else if err != nil {
					return err
				}
				if err := stream.SendMsg(in); err != nil {
					return err
				}
			}
		},
	}},
}

// grpcServer runs the service, and answers its port.
func grpcServer(t *testing.T, options ...grpc.ServerOption) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	s.RegisterService(&echoService, new(any))
	go s.Serve(ln)
	t.Cleanup(s.Stop)
	return ln.Addr().(*net.TCPAddr).Port
}

// TestGRPC speaks with grpc-go through the gateway: in the clear and over TLS
// on either side.
func TestGRPC(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	p := h.start()
	servers := map[string]int{
		"grpc":  grpcServer(t),
		"grpcs": grpcServer(t, grpc.Creds(credentials.NewServerTLSFromCert(&selfsigned.New("server").Certificate))),
	}
	for protocol, port := range servers {
		p.admin("POST", "/services", fmt.Sprintf(`{"name":%q,"protocol":%q,"host":"127.0.0.1","port":%d}`, protocol, protocol, port), 201)
		p.admin("POST", "/services/"+protocol+"/routes", fmt.Sprintf(`{"protocols":["grpc","grpcs"],"headers":{"x-to":[%q]},"paths":["/test.Echo/"]}`, protocol), 201)
	}
	p.admin("POST", "/services/grpc/routes", `{"protocols":["grpcs"],"headers":{"x-to":["secure"]},"paths":["/test.Echo/"]}`, 201)
	p.admin("POST", "/services", fmt.Sprintf(`{"name":"dead","protocol":"grpc","host":"127.0.0.1","port":%d,"retries":0}`, ports.Free(t)), 201)
	p.admin("POST", "/services/dead/routes", `{"protocols":["grpc","grpcs"],"headers":{"x-to":["dead"]},"paths":["/test.Echo/"]}`, 201)

	for _, client := range []struct {
		name, port string
		creds      credentials.TransportCredentials
	}{
		{"h2c", "PROXY", insecure.NewCredentials()},
		{"TLS", "PROXY_SSL", credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})},
	} {
		conn, err := grpc.NewClient("passthrough:///"+p.addr(client.port), grpc.WithTransportCredentials(client.creds))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		say := func(to, word string, options ...grpc.CallOption) (string, error) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			out := new(text)
			err := conn.Invoke(metadata.AppendToOutgoingContext(ctx, "x-to", to, "x-ask", "please"), "/test.Echo/Say", &text{Value: word}, out, options...)
			return out.Value, err
		}
		for to := range servers {
			t.Run(client.name+" to "+to, func(t *testing.T) {
				var head, tail metadata.MD
				if got, err := say(to, "hello", grpc.Header(&head), grpc.Trailer(&tail)); err != nil || got != "hello" {
					t.Fatalf("got %q, %v", got, err)
				}
				if fmt.Sprint(head.Get("x-head"), tail.Get("x-tail")) != "[please] [end]" {
					t.Errorf("got headers %v, trailers %v", head, tail)
				}
				if _, err := say(to, "bad"); rpc.Code(err) != codes.InvalidArgument || rpc.Convert(err).Message() != "no such word: 100%" {
					t.Errorf("got %v, want the service's own error", err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				stream, err := conn.NewStream(metadata.AppendToOutgoingContext(ctx, "x-to", to), &echoService.Streams[0], "/test.Echo/Talk")
				if err != nil {
					t.Fatal(err)
				}
				for i := range 3 { // each one only after the answer to the one before
					if err := stream.SendMsg(&text{Value: fmt.Sprint(i)}); err != nil {
						t.Fatal(err)
					}
					in := new(text)
					if err := stream.RecvMsg(in); err != nil || in.Value != fmt.Sprint(i) {
						t.Fatalf("got %q, %v, want %d", in.Value, err, i)
					}
				}
				_ = stream.CloseSend()
				if err := stream.RecvMsg(new(text)); rpc.Code(err) != codes.ResourceExhausted {
					t.Errorf("got %v, want the stream's status", err)
				}
			})
		}
		if _, err := say("nobody", "hello"); rpc.Code(err) != codes.NotFound {
			t.Errorf("%s, no route: got %v", client.name, err)
		}
		if _, err := say("dead", "hello"); rpc.Code(err) != codes.Internal { // Kong's word for a 502
			t.Errorf("%s, no upstream: got %v", client.name, err)
		}
		_, err = say("secure", "hello")
		if want := map[string]codes.Code{"h2c": codes.Canceled, "TLS": codes.OK}[client.name]; rpc.Code(err) != want {
			t.Errorf("%s to a route for grpcs only: got %v, want %v", client.name, err, want)
		}
	}
}
