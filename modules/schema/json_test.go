package schema

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const whole = `{"id":"` + parentID + `","created_at":7,"token":"x","type":"limited","name":"n\"\\\n\u0001é😀",
	"count":9,"list":[1,2],"set":["c"],"map":{"yy":["b"],"xx":[]},"records":[{"ip":"a","port":null}],
	"parent":{"id":"` + parentID + `"},"config":{"second":5},"extra":{"z":1.5,"a":[null,true,12345678901234567]},"seen":["s"]}`

func TestMarshal_writesEveryFieldInTableOrder(t *testing.T) {
	table := things()
	o, err := table.Process(Insert, decode(t, whole), nil, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"` + parentID + `","created_at":7,"updated_at":1700000000.124,"token":"x","type":"limited",` +
		`"name":"n\"\\\n\u0001é😀","count":9,"ratio":null,"flag":false,"list":[1,2],"set":["c"],"map":{"xx":[],"yy":["b"]},` +
		`"records":[{"ip":"a","port":null}],"parent":{"id":"` + parentID + `"},` +
		`"config":{"second":5,"minute":null,"policy":"local","redis":{"host":null,"port":6379}},` +
		`"extra":{"a":[null,true,12345678901234568],"z":1.5},"secret":null,"one":null,"two":null,"three":null,"seen":["s"]}`
	if diff := cmp.Diff(want, string(table.Marshal(o))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := string(table.AppendJSON([]byte("["), o)); got != "["+want {
		t.Errorf("AppendJSON wrote %s", got)
	}
	packed := `{"id":"` + parentID + `","created_at":7,"updated_at":1700000000.124,"token":"x","type":"limited",` +
		`"name":"n\"\\\n\u0001é😀","count":9,"flag":false,"list":[1,2],"set":["c"],"map":{"xx":[],"yy":["b"]},` +
		`"records":[{"ip":"a"}],"parent":{"id":"` + parentID + `"},` +
		`"config":{"second":5,"policy":"local","redis":{"port":6379}},` +
		`"extra":{"a":[null,true,12345678901234568],"z":1.5}}`
	if diff := cmp.Diff(packed, string(table.Pack(o))); diff != "" {
		t.Errorf("packed (-want +got):\n%s", diff)
	}
}

func TestUnpack_isTheInverseOfPack(t *testing.T) {
	table := things()
	o, err := table.Process(Insert, decode(t, whole), nil, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	o["seen"] = nil // is not stored
	got, bad := table.Unpack(table.Pack(o))
	if bad != nil {
		t.Fatal(bad)
	}
	if diff := cmp.Diff(o, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnpack_readsOlderRows(t *testing.T) {
	table := things()
	got, err := table.Unpack([]byte(` { "gone" : [{"x":[1,2.5e3,"\ud83d\ude00\/\b\f"]}, null, true, false] , "type":"limited" } `))
	if err != nil {
		t.Fatal(err)
	}
	if got["count"] != int64(5) {
		t.Errorf("a required field that is missing has %v, want its default", got["count"])
	}
	if got["flag"] != nil {
		t.Errorf("a field that is not required has %v, want nothing", got["flag"])
	}
	if _, ok := got["gone"]; ok {
		t.Error("a field that the table does not have was kept")
	}
	redis := got["config"].(Object)["redis"].(Object)
	if _, ok := redis["host"]; !ok || redis["host"] != nil {
		t.Errorf("config %v", got["config"])
	}
}

func TestUnpack_refusesWhatIsNoRow(t *testing.T) {
	table := things()
	for _, text := range []string{
		``, `null`, `[]`, `{`, `{"id"`, `{"id":`, `{"id":"x`, `{"id":"x"`, `{"id":"x",}`, `{"id":"x"}x`, `{id:"x"}`,
		`{"id":1}`, `{"count":"1"}`, `{"count":1.5}`, `{"flag":1}`, `{"list":{}}`, `{"list":["x"]}`, `{"map":[]}`,
		`{"ratio":"x"}`, `{"parent":"x"}`, `{"records":["x"]}`, `{"extra":nul}`, `{"extra":truthy}`, `{"extra":-}`,
		`{"one":"\x"}`, `{"one":"\u12"}`, `{"one":"\u12zz"}`, "{\"one\":\"a\nb\"}", "{\"one\":\"\\n\n\"}", `{"config":1}`,
	} {
		if o, err := table.Unpack([]byte(text)); err == nil {
			t.Errorf("%s was read as %v", text, o)
		}
	}
}

// FuzzProcess feeds any JSON to a table and reads back what it accepted.
func FuzzProcess(f *testing.F) {
	f.Add(whole, `{"count":7}`)
	f.Add(`{"set":["a","b","a"],"extra":[1e30,1.0,-0.0]}`, `{"extra":null,"type":"plain"}`)
	f.Add(`{"map":{"":1,"xx":{}},"records":[[],{}]}`, `{"config":{"redis":7}}`)
	table := things()
	f.Fuzz(func(t *testing.T, first, second string) {
		in, ok := object(first)
		if !ok {
			return
		}
		table.Coerce(in)
		o, err := table.Process(Insert, in, nil, testEnv())
		if err != nil {
			if err.Message == "" || len(err.Fields) == 0 {
				t.Errorf("a refusal without a reason: %+v", err)
			}
			if _, bad := json.Marshal(err); bad != nil {
				t.Error(bad)
			}
			return
		}
		roundTrip(t, table, o)
		change, ok := object(second)
		if !ok {
			return
		}
		for _, op := range []Op{Update, Upsert} {
			if o, err := table.Process(op, change, o, testEnv()); err == nil {
				if op == Update {
					o["seen"] = nil
				}
				roundTrip(t, table, o)
			}
		}
	})
}

func object(text string) (Object, bool) {
	var o Object
	err := json.Unmarshal([]byte(text), &o)
	return o, err == nil && o != nil
}

func roundTrip(t *testing.T, table *Table, o Object) {
	t.Helper()
	if text := table.Marshal(o); !json.Valid(text) {
		t.Fatalf("no JSON: %s", text)
	}
	packed := table.Pack(o)
	got, err := table.Unpack(packed)
	if err != nil {
		t.Fatalf("%s: %v", packed, err)
	}
	o["seen"] = nil
	if diff := cmp.Diff(o, got); diff != "" {
		t.Fatalf("%s (-written +read):\n%s", packed, diff)
	}
}

// FuzzUnpack compares the reader of rows with encoding/json.
func FuzzUnpack(f *testing.F) {
	for _, s := range []string{`{"extra":{"a":"\ud800x","b":[1,2e3,-0.5]}}`, `{"extra":"\u00e9\n"}`, `{"extra":1,"extra":{}}`} {
		f.Add(s)
	}
	table := &Table{Name: "t", Fields: &Fields{List: []Field{{Name: "extra", Kind: JSON}}}}
	f.Fuzz(func(t *testing.T, text string) {
		var want struct{ Extra any }
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			_, _ = table.Unpack([]byte(text)) // must not panic
			return
		}
		var o Object
		if json.Unmarshal([]byte(text), &o) != nil || o == nil {
			return
		}
		got, err := table.Unpack([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(canonical(o["extra"]), got["extra"]); diff != "" {
			t.Errorf("%s (-encoding/json +reader):\n%s", text, diff)
		}
	})
}
