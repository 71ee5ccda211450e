package schema

import (
	"fmt"
	"testing"
	"time"
)

func TestLifetime(t *testing.T) {
	table := &Table{Name: "t", Fields: &Fields{List: []Field{
		{Name: "name", Kind: String},
		{Name: "ttl", Kind: Integer, Lifetime: true, Between: []float64{0, 100}},
	}}}
	env := &Env{Now: 1000.7}
	for _, tt := range []struct {
		op      Op
		in, was Object
		want    any
	}{
		{Insert, Object{"ttl": int64(60)}, nil, Moment(1061)},
		{Insert, Object{"ttl": int64(0)}, nil, nil},
		{Insert, Object{}, nil, nil},
		{Update, Object{"name": "n"}, Object{"ttl": Moment(1010)}, Moment(1010)},
		{Update, Object{"ttl": int64(5)}, Object{"ttl": Moment(1010)}, Moment(1006)},
		{Update, Object{"ttl": int64(0)}, Object{"ttl": Moment(1010)}, nil},
		{Update, Object{"ttl": nil}, Object{"ttl": Moment(1010)}, nil},
		{Upsert, Object{"name": "n"}, Object{"ttl": Moment(1010)}, nil},
	} {
		o, err := table.Process(tt.op, tt.in, tt.was, env)
		if err != nil || o["ttl"] != tt.want {
			t.Errorf("%v over %v: ttl is %v (%v), want %v", tt.in, tt.was, o["ttl"], err, tt.want)
		}
	}
	for _, bad := range []any{int64(101), int64(-1), "1h", 1.5} {
		_, err := table.Process(Insert, Object{"ttl": bad, "name": 1}, nil, env)
		if err == nil || err.Code != CodeInvalidOptions || len(err.Options) != 1 || err.Options["ttl"] == nil {
			t.Errorf("ttl %v: error %v", bad, err)
		}
	}
}

// TestLifetime_declarative: there what is too large for a lifetime is a moment.
func TestLifetime_declarative(t *testing.T) {
	table := &Table{Name: "t", Fields: &Fields{List: []Field{{Name: "ttl", Kind: Integer, Lifetime: true, Between: []float64{0, 100}}}}}
	env := &Env{Now: 1000, Declarative: true}
	for _, tt := range []struct{ in, want any }{
		{int64(100), Moment(1100)},
		{int64(101), Moment(101)}, // long ago
		{2000.0, Moment(2000)},
		{int64(0), nil},
		{nil, nil},
	} {
		o, err := table.Process(Insert, Object{"ttl": tt.in}, nil, env)
		if err != nil || o["ttl"] != tt.want {
			t.Errorf("ttl %v is %v (%v), want %v", tt.in, o["ttl"], err, tt.want)
		}
	}
	for _, bad := range []any{int64(-1), "1h", 101.5} {
		if _, err := table.Process(Insert, Object{"ttl": bad}, nil, env); err == nil || err.Code != CodeSchemaViolation || err.Fields["ttl"] == nil {
			t.Errorf("ttl %v: error %v", bad, err)
		}
	}
}

// TestLifetime_isStoredAsAMoment, exported so, and told as what is left of it.
func TestLifetime_isStoredAsAMoment(t *testing.T) {
	table := &Table{Name: "t", Fields: &Fields{List: []Field{{Name: "ttl", Kind: Integer, Lifetime: true}}}}
	at := Moment(time.Now().Unix() + 1000)
	stored := string(table.Pack(Object{"ttl": at}))
	if want := fmt.Sprintf(`{"ttl":%d}`, at); stored != want {
		t.Errorf("stored as %s, want %s", stored, want)
	}
	o, err := table.Unpack([]byte(stored))
	if err != nil || o["ttl"] != at {
		t.Errorf("read as %v (%v), want %v", o["ttl"], err, at)
	}
	if text := string(table.Export(o)); text != stored {
		t.Errorf("exported as %s, want %s", text, stored)
	}
	var left int64
	if _, err := fmt.Sscanf(string(table.Marshal(o)), `{"ttl":%d}`, &left); err != nil || left > 1000 || left < 900 {
		t.Errorf("told as %s (%v)", table.Marshal(o), err)
	}
	for now, want := range map[float64]int64{10.7: 3, 11.2: 2, 11: 3, 13.2: 1, 13.9: 1} {
		if left := Moment(14).Left(time.UnixMicro(int64(now * 1e6))); left != want {
			t.Errorf("at %v, %d are left until 14, want %d", now, left, want)
		}
	}
	if left := at.Left(time.Now().Add(time.Hour)); left != 1 {
		t.Errorf("afterwards %d are left, which an import would take for something else", left)
	}
}
