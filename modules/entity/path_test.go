package entity_test

import (
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

func TestNormalizePath(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"root", "/", "/"},
		{"normal already", "/a/b/c/", "/a/b/c/"},
		{"dots inside names stay", "/a.b/.well-known/..c/d..", "/a.b/.well-known/..c/d.."},

		{"query is cut", "/a?b=/../c", "/a"},
		{"query after an encoded question mark", "/a%3Fb?c", "/a%3Fb"},

		{"unreserved is decoded", "/%6B%6f%6e%67", "/kong"},
		{"space and others are decoded", "/a%20b%22%3C%7C", `/a b"<|`},
		{"utf-8 is decoded", "/endel%C3%B8st", "/endeløst"},
		{"any byte is decoded", "/%99%af%00", "/\x99\xaf\x00"},
		{"reserved stays, in upper case", "/a%2fb%2Fc/", "/a%2Fb%2Fc/"},
		{"all reserved", "/%21%2a%27%28%29%3b%3a%40%26%3d%2b%24%2c%2f%3f%25%23%5b%5d", "/%21%2A%27%28%29%3B%3A%40%26%3D%2B%24%2C%2F%3F%25%23%5B%5D"},
		{"decoded once", "/%2541", "/%2541"},
		{"no triplet", "/100%/%4/%zz%", "/100%25/%254/%25zz%25"},
		{"no triplet before one", "/%%41", "/%25A"},

		{"dot", "/a/./b/.", "/a/b/"},
		{"dot dot", "/a/b/c/./../../g", "/a/g"},
		{"dot dot at the end", "/a/b/..", "/a/"},
		{"dot dot above the root", "/../../a", "/a"},
		{"only dots", "/./.././../", "/"},
		{"encoded dots count", "/a/%2e%2E/b/%2e", "/b/"},
		{"relative", "mid/content=5/../6", "mid/6"},
		{"relative dots", "./../a", "a"},
		{"relative to nothing", "..", ""},

		{"slashes merge", "/a//b///", "/a/b/"},
		{"only slashes", "/////", "/"},
		{"encoded slashes do not merge", "/a%2F%2F/b", "/a%2F%2F/b"},
		{"slash, dot, slash", "//.//..//a", "/a"},
		{"everything at once", "/%C3%A4/a/%2e./a%2E//a/%2e/./a/../a/%2e%2E/%5f%99%af%2f%2F", "/ä/a./a/_\x99\xaf%2F%2F"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := entity.NormalizePath(tt.in); got != tt.want {
				t.Errorf("NormalizePath(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestEscapePath(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing to do", "/a-b_c.~!#$&'()*+,/:;=?@[]%2F", "/a-b_c.~!#$&'()*+,/:;=?@[]%2F"},
		{"space", "/a b", "/a%20b"},
		{"utf-8", "/endeløst", "/endel%C3%B8st"},
		{"any byte", "/\x00\"<>\\^`{|}\x7f\xff", "/%00%22%3C%3E%5C%5E%60%7B%7C%7D%7F%FF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := entity.EscapePath(tt.in); got != tt.want {
				t.Errorf("EscapePath(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestNormalizePath_doesNotAllocateForNormalPaths(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { entity.NormalizePath("/api/v1/orders/17?x=1") }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"", "/", "/a/../b", "/%2e%2e/%2F", "//", "/%", "a/..", "./..//.", "/%%4141", "/%2541?x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		path := entity.NormalizePath(raw)
		if again := entity.NormalizePath(path); again != path {
			t.Errorf("NormalizePath(%q) = %q, but normalised again %q", raw, path, again)
		}
		if strings.Contains(path, "//") || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") {
			t.Errorf("NormalizePath(%q) = %q has a segment it should not have", raw, path)
		}
		if strings.HasPrefix(raw, "/") && !strings.HasPrefix(path, "/") {
			t.Errorf("NormalizePath(%q) = %q lost its first slash", raw, path)
		}
		if back := entity.NormalizePath(entity.EscapePath(path)); back != path {
			t.Errorf("NormalizePath(%q) = %q, but %q after escaping", raw, path, back)
		}
	})
}

func BenchmarkNormalizePath(b *testing.B) {
	for _, bb := range []struct{ name, path string }{
		{"normal", "/api/v1/customers/1234/orders/5678?page=2"},
		{"encoded", "/api/v1/customers/J%C3%BCrgen%20M/../orders//5678"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				entity.NormalizePath(bb.path)
			}
		})
	}
}
