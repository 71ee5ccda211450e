# make build   bin/caddy from this checkout, as xcaddy.json says
# make run     build, then run examples/gateway.caddyfile; data in .cache/data
# make test    everything a change must pass; with PORTCULLIS_FULL=1 the changes
#              under load are 1,000 writes and 50 reloads
# make bench   the gateway beside nginx, HAProxy and stock Caddy: ROUNDS times
#              DURATION for each; ROWS=plain,tls and PEERS=nginx choose,
#              BASE=<binary> adds an older build (docs/benchmarks.md)
# make microbench   the Go benchmarks, BENCHTIME each
# make fuzz    every fuzz target, FUZZTIME each
# make fmt     format the Go code and the example Caddyfiles
# make clean   remove what make made, data of `make run` included
# make help    this list

BENCHTIME ?= 1s
DURATION  ?= 5s
ROUNDS    ?= 5
FUZZTIME  ?= 10s
TIMEOUT   ?= 30m

# The version control state is not part of the binary: a build is the same
# from a clone, a tarball and a checkout that belongs to someone else.
export GOFLAGS := $(strip $(shell go env GOFLAGS) -buildvcs=false)

GOFMT := $(shell go env GOROOT)/bin/gofmt

# Rooms with one file per operating system are vetted for each of them.
SYSTEMS  := darwin freebsd openbsd netbsd windows
PORTABLE := ./modules/dial ./modules/firewall ./modules/listen ./modules/relay ./modules/serve ./modules/stream ./transparent

SOURCES := $(shell find . -path './.*' -prune -o -path ./bench -prune -o \( -name '*.go' ! -name '*_test.go' -o -name go.mod -o -name go.sum \) -print)

.PHONY: build run test check cross bench microbench fuzz fmt clean help

build: bin/caddy

bin/caddy: xcaddy.json $(SOURCES)
	@go run -C build . -f '$(CURDIR)/xcaddy.json' -o '$(CURDIR)/$@'

bin/caddy-l4: bench/caddy-l4.json
	@go run -C build . -f '$(CURDIR)/$<' -o '$(CURDIR)/$@'

run: build
	@mkdir -p .cache/data .cache/config
	XDG_DATA_HOME='$(CURDIR)/.cache/data' XDG_CONFIG_HOME='$(CURDIR)/.cache/config' \
		exec bin/caddy run --config examples/gateway.caddyfile

test: check cross build
	go test -race -timeout $(TIMEOUT) ./...

check:
	@sh build/needs.sh
	@unformatted=$$($(GOFMT) -l .); [ -z "$$unformatted" ] || { \
		echo "not formatted (make fmt does it):"; echo "$$unformatted"; exit 1; }
	go vet ./...
	go vet -C build ./...

cross:
	@for system in $(SYSTEMS); do \
		echo "GOOS=$$system go vet $(PORTABLE)"; \
		GOOS=$$system CGO_ENABLED=0 go vet $(PORTABLE) || exit 1; \
	done

bench: build bin/caddy-l4
	@sh build/needs.sh bench
	@go build -o bin/bench ./bench
	@bin/bench -rows '$(ROWS)' -peers '$(PEERS)' -base '$(BASE)' -duration '$(DURATION)' -rounds '$(ROUNDS)'

microbench:
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -timeout 30m ./...

fuzz:
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
			go test "./$$(dirname "$$file")" -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) || exit 1; \
		done; \
	done

fmt: build
	$(GOFMT) -w .
	@for file in examples/*.caddyfile; do bin/caddy fmt --overwrite "$$file"; done

clean:
	rm -rf bin .cache

help:
	@sed -n -e 's/^# make/make/p' -e 's/^#  /  /p' Makefile
