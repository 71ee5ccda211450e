package serve

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

func TestCounts_followAConnectionThroughItsPhases(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	f := start(t, "", Generation{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		<-release
	})})
	before := Counts()
	conn, err := net.Dial("tcp", f.first.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wantCounts(t, before, Traffic{Accepted: 1, Active: 1, Reading: 1})

	answers := bufio.NewReader(conn)
	for n := int64(1); n <= 2; n++ {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-inside
		wantCounts(t, before, Traffic{Accepted: 1, Active: 1, Writing: 1, Requests: n})
		release <- struct{}{}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		wantCounts(t, before, Traffic{Accepted: 1, Active: 1, Waiting: 1, Requests: n})
	}
	conn.Close()
	wantCounts(t, before, Traffic{Accepted: 1, Requests: 2})
}

func TestCounts_anUpgradedConnectionIsWritingUntilItCloses(t *testing.T) {
	hijacked := make(chan net.Conn, 1)
	f := start(t, "", Generation{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
		}
		hijacked <- c
	})})
	before := Counts()
	conn, err := net.Dial("tcp", f.first.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	c := <-hijacked
	wantCounts(t, before, Traffic{Accepted: 1, Active: 1, Writing: 1, Requests: 1})
	c.Close()
	wantCounts(t, before, Traffic{Accepted: 1, Requests: 1})
}

// wantCounts waits until the counts have grown by want: the server notices
// some things after the client does.
func wantCounts(t *testing.T, before, want Traffic) {
	t.Helper()
	var got Traffic
	defer func() {
		if got != want {
			t.Errorf("counts grew by %+v, want %+v", got, want)
		}
	}()
	patient.Until(t, "the counts are right", func() bool {
		now := Counts()
		got = Traffic{
			Accepted: now.Accepted - before.Accepted,
			Active:   now.Active - before.Active,
			Reading:  now.Reading - before.Reading,
			Writing:  now.Writing - before.Writing,
			Waiting:  now.Waiting - before.Waiting,
			Requests: now.Requests - before.Requests,
		}
		return got == want
	})
}
