#!/bin/sh
# Installs what the tests use and the machine lacks: gcc for the race
# detector, curl for the commands of the README, ss to read sockets back, nft
# and iptables to divert connections, setpriv and systemd-analyze for what runs
# without privileges; nginx, PostgreSQL, Redis and their clients for both ends
# that are not ours.
# `needs.sh bench` installs the peers and load generators of `make bench`
# instead. It touches nothing when all is there.
set -eu

missing=
need() { # need <command> <Debian package>...
	command -v "$1" >/dev/null 2>&1 && return
	shift
	missing="$missing $*"
}
case "${1:-tests}" in
tests)
	need gcc gcc libc6-dev
	need curl curl ca-certificates
	need ss iproute2
	need nft nftables
	need iptables iptables
	need setpriv util-linux
	need systemd-analyze systemd
	need nginx nginx
	need openssl openssl
	need dig bind9-dnsutils
	need redis-server redis-server
	need redis-cli redis-tools
	need psql postgresql-client
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
	;;
bench)
	need nginx nginx
	[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing="$missing libnginx-mod-stream"
	need haproxy haproxy
	need wrk wrk
	need h2load nghttp2-client
	need taskset util-linux
	;;
*)
	echo "needs.sh [tests | bench]" >&2
	exit 2
	;;
esac
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "Needed are these Debian packages, or what they are called on this system:$missing" >&2
	exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
	as_root=
elif sudo -n true 2>/dev/null; then
	as_root=sudo
else
	echo "Needed are packages that only root can install: apt-get install$missing" >&2
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086 # one word per package
$as_root apt-get install -y -qq --no-install-recommends $missing
