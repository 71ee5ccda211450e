package command

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portcullis-gateway/portcullis/modules/router"
)

// explainTimeout bounds the wait for the answer.
const explainTimeout = time.Minute

// explainRequest is the body of POST /explain.
type explainRequest struct {
	Method      string              `json:"method,omitempty"`
	URL         string              `json:"url"`
	Headers     map[string][]string `json:"headers,omitempty"`
	Source      string              `json:"source,omitempty"`
	Destination string              `json:"destination,omitempty"`
	SNI         string              `json:"sni,omitempty"`
}

// stream reports whether the question is about a stream.
func (r *explainRequest) stream() bool {
	scheme, _, _ := strings.Cut(r.URL, "://")
	return scheme == "tcp" || scheme == "tls" || scheme == "udp"
}

func explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain URL",
		Short: "Tells which route a request takes, and why not another",
		Long: `
Asks a running gateway which route it would choose for a request, without
sending the request. The routes that come closest follow, each with what kept
it from being chosen.

URL is the one that a client would use; http:// may be left out, and so may the
host if no route asks for one. tcp://, tls:// and udp:// stand for connections
and UDP sessions, with the address and port that the client connects to, or with
the server name that it asks for.

--method
    The method of the request. Default: GET

--header
    A header of the request, as 'Name: value'; may be given more than once.

--source, --destination
    The address, or address:port, of the client, and the one that the client
    connected to.

--sni
    The server name that the client asked for. Default: the host of an https
    URL

--json
    Print the answer of the Admin API as it is.
` + clientHelp + `
The exit status is 0 if there is a route, 1 if there is none, and 2 if the
gateway could not be asked.
`,
		Example: `  $ caddy gateway explain https://api.example.com/orders/7
  $ caddy gateway explain --method POST --header 'X-Tenant: blue' http://localhost/orders
  $ caddy gateway explain tcp://10.0.0.1:5432 --source 10.1.2.3
  $ caddy gateway explain tls://db.example.com:9443
  $ caddy gateway explain --source 10.0.0.5 --json /orders | jq .matched.route.name`,
		Args: exactly(1),
		RunE: explain,
	}
	clientFlags(cmd)
	cmd.Flags().StringP("method", "X", "GET", "Method of the request")
	cmd.Flags().StringArrayP("header", "H", nil, "Header of the request, as 'Name: value'")
	cmd.Flags().String("source", "", "Address of the client")
	cmd.Flags().String("destination", "", "Address that the client connected to")
	cmd.Flags().String("sni", "", "Server name that the client asked for")
	cmd.Flags().Bool("json", false, "Print the answer as JSON")
	return cmd
}

func explain(cmd *cobra.Command, args []string) error {
	req, err := newExplainRequest(cmd, args[0])
	if err != nil {
		return trouble(cmd, err)
	}
	c, err := newClient(cmd)
	if err != nil {
		return trouble(cmd, err)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	body, err := json.Marshal(req)
	if err != nil {
		return trouble(cmd, err)
	}
	resp, err := c.do(ctx, "POST", "explain", nil, "application/json", bytes.NewReader(body))
	if err != nil {
		return trouble(cmd, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	var e router.Explanation
	if err == nil {
		err = json.Unmarshal(answer, &e)
	}
	if err != nil {
		return trouble(cmd, fmt.Errorf("reading the answer of the Admin API: %w", err))
	}
	if raw, _ := cmd.Flags().GetBool("json"); raw {
		fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSpace(string(answer)))
	} else {
		printExplanation(cmd.OutOrStdout(), req, &e)
	}
	if e.Matched == nil {
		return exit(cmd, statusNo)
	}
	return nil
}

func newExplainRequest(cmd *cobra.Command, url string) (*explainRequest, error) {
	text := func(flag string) string {
		value, _ := cmd.Flags().GetString(flag)
		return value
	}
	if !strings.Contains(url, "://") && !strings.HasPrefix(url, "/") {
		url = "http://" + url
	}
	req := &explainRequest{
		Method: text("method"), URL: url, Headers: map[string][]string{},
		Source: text("source"), Destination: text("destination"), SNI: text("sni"),
	}
	headers, _ := cmd.Flags().GetStringArray("header")
	for _, header := range headers {
		name, value, found := strings.Cut(header, ":")
		if name = strings.TrimSpace(name); !found || name == "" {
			return nil, fmt.Errorf("--header: %q is not of the form 'Name: value'", header)
		}
		req.Headers[name] = append(req.Headers[name], strings.TrimSpace(value))
	}
	return req, nil
}

// printExplanation writes for people what the Admin API answered.
func printExplanation(w io.Writer, req *explainRequest, e *router.Explanation) {
	line := func(label, format string, args ...any) {
		fmt.Fprintf(w, "    %-16s %s\n", label, fmt.Sprintf(format, args...))
	}
	if req.stream() {
		fmt.Fprintf(w, "%s\n\n", req.URL)
	} else {
		fmt.Fprintf(w, "%s %s\n\n", req.Method, req.URL)
	}
	if m := e.Matched; m == nil {
		fmt.Fprintln(w, "  No route fits.")
	} else {
		fmt.Fprintf(w, "  takes %s\n", name(&m.Ranked))
		line("id", "%s", m.Route.ID)
		if m.Route.Service != nil {
			line("service", "%s", m.Route.Service.ID)
		} else {
			line("service", "none")
		}
		if wants, all := protocols(req, m.Protocols); !all {
			line("protocols", "%s", wants)
		}
		if m.Prefix != "" {
			line("prefix", "%s", m.Prefix)
		}
		for _, group := range slices.Sorted(maps.Keys(m.Captures)) {
			line("capture "+group, "%s", m.Captures[group])
		}
		line("priority", "%s", m.Rank)
	}
	if len(e.NearMisses) == 0 {
		return
	}
	fmt.Fprint(w, "\nOther routes, the closest first:\n")
	for _, miss := range e.NearMisses {
		fmt.Fprintf(w, "\n  %s\n", name(&miss.Ranked))
		for _, f := range miss.Failed {
			switch f.Attribute {
			case "priority":
				line("priority", "it fits too, but ranks lower: %s", miss.Rank)
			case "id":
				line("id", "it fits too and ranks the same, but its id is smaller: %s", f.Got)
			default:
				line(strings.TrimSpace(f.Attribute+" "+f.Name), "%s, but the route wants %s", cmp.Or(f.Got, "none"), strings.Join(f.Expected, " or "))
			}
		}
	}
}

// protocols tells what a route wants, and what comes of a request that it does
// not want; all is true if any HTTP request will do.
func protocols(req *explainRequest, wants []string) (text string, all bool) {
	text = strings.Join(wants, ", ")
	plain, secure := slices.Contains(wants, "http"), slices.Contains(wants, "https")
	if secure && !plain && !strings.HasPrefix(strings.ToLower(req.URL), "https:") {
		text += ": over http, the answer is 426 or a redirect"
	}
	return text, len(wants) == 0 || plain && secure
}

// name is what people call a route.
func name(r *router.Ranked) string {
	if r.Route.Name != "" {
		return fmt.Sprintf("the route %q", r.Route.Name)
	}
	return "the route " + r.Route.ID.String()
}
