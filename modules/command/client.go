package command

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// tokenVariable is the environment variable that may hold the token.
const tokenVariable = "GATEWAY_ADMIN_TOKEN"

// clientHelp describes the flags of clientFlags.
const clientHelp = `
--address
    Where the Admin API listens. Default: http://127.0.0.1:8001

--token
    The token that the Admin API asks for. Default: the environment variable
    GATEWAY_ADMIN_TOKEN

--cacert, --cert, --key, --insecure-skip-verify
    For an address with https: the file of a CA that signed the certificate of
    the Admin API, the files of a client's certificate and key in PEM form, and
    whether to trust whoever answers.
`

// clientFlags adds what commands need that speak to the Admin API.
func clientFlags(cmd *cobra.Command) {
	cmd.Flags().String("address", "http://127.0.0.1:8001", "Address of the Admin API")
	cmd.Flags().String("token", "", "Token for the Admin API (default $"+tokenVariable+")")
	cmd.Flags().String("cacert", "", "File with the CA certificate of the Admin API")
	cmd.Flags().String("cert", "", "File with a client certificate")
	cmd.Flags().String("key", "", "File with the key of the client certificate")
	cmd.Flags().Bool("insecure-skip-verify", false, "Do not verify the certificate of the Admin API")
}

// client speaks to the Admin API of a running gateway.
type client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// newClient makes a client by the flags of a command.
func newClient(cmd *cobra.Command) (*client, error) {
	text := func(flag string) string {
		value, _ := cmd.Flags().GetString(flag)
		return value
	}
	base, err := parseAddress(text("address"))
	if err != nil {
		return nil, err
	}
	config := &tls.Config{}
	config.InsecureSkipVerify, _ = cmd.Flags().GetBool("insecure-skip-verify")
	if file := text("cacert"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--cacert: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--cacert: there is no certificate in %s", file)
		}
	}
	if cert, key := text("cert"), text("key"); cert != "" || key != "" {
		if cert == "" || key == "" {
			return nil, errors.New("--cert and --key belong together")
		}
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("--cert: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	c := &client{base: base, token: text("token")}
	if c.token == "" {
		c.token = os.Getenv(tokenVariable)
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			DialContext:     (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSClientConfig: config,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token stays here
	}
	return c, nil
}

// parseAddress reads the value of --address; the scheme may be left out.
func parseAddress(address string) (*url.URL, error) {
	whole := address
	if !strings.Contains(address, "://") {
		whole = "http://" + address
	}
	u, err := url.Parse(whole)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--address: %q is not an address such as http://127.0.0.1:8001", address)
	}
	u.RawQuery, u.Fragment = "", ""
	return u, nil
}

// do sends a request and answers the response if it is a success. The caller
// closes the body.
func (c *client) do(ctx context.Context, method, path string, query url.Values, contentType string, body io.Reader) (*http.Response, error) {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	if sized, ok := body.(interface{ Len() int }); ok {
		req.ContentLength = int64(sized.Len())
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		req.Header.Set("Kong-Admin-Token", c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, c.refused(resp)
	}
	return resp, nil
}

// unreachable says that there was no answer, and what to do about it.
func (c *client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	hint := "is the gateway running? --address says where"
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &certificate):
		hint = "--cacert names the CA to trust"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		hint = "it does not speak TLS, so --address should begin with http://"
	case errors.Is(err, io.EOF):
		hint = "does it speak TLS? then --address should begin with https://"
	}
	return fmt.Errorf("cannot reach the Admin API at %s: %w; %s", c.base, err, hint)
}

// refused says what the Admin API answered instead of what it was asked for.
func (c *client) refused(resp *http.Response) error {
	var body struct{ Message string }
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if json.Unmarshal(text, &body) != nil || body.Message == "" {
		body.Message = strings.TrimSpace(string(text[:min(len(text), 200)]))
	}
	hint := ""
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		hint = "; --token or " + tokenVariable + " gives the token"
	case http.StatusNotFound:
		hint = "; is this the Admin API of a gateway of this kind?"
	}
	return fmt.Errorf("the Admin API at %s answered %s: %s%s", c.base, resp.Status, body.Message, hint)
}
