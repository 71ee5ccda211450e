#!/bin/sh
# Installs what the tests use and the machine lacks: gcc for the race
# detector, curl for the commands of the README, ss to read sockets back, nft and
# iptables to divert connections.
# It touches nothing when all is there.
set -eu

missing=
need() { # need <command> <Debian package>...
	command -v "$1" >/dev/null 2>&1 && return
	shift
	missing="$missing $*"
}
need gcc gcc libc6-dev
need curl curl ca-certificates
need ss iproute2
need nft nftables
need iptables iptables
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "The tests need these Debian packages, or what they are called on this system:$missing" >&2
	exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
	as_root=
elif sudo -n true 2>/dev/null; then
	as_root=sudo
else
	echo "The tests need packages that only root can install: apt-get install$missing" >&2
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086 # one word per package
$as_root apt-get install -y -qq --no-install-recommends $missing
