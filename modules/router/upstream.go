package router

import (
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// UpstreamPath answers the path to ask the upstream for, escaped: what a
// route's strip_path (strip) and path_handling make of the path of its service
// ("" is "/"), of the request's path in normal form, and of the prefix that
// the match found in it.
//
// Kong joins the two as segments, so that no slash is doubled or missing
// (handling "v0", get_upstream_uri_v0 in kong/router/utils.lua). With "v1" it
// writes one behind the other; only its flavor "traditional" knows that, so
// callers give "v0" whatever the route says, unless they mean that flavor.
func UpstreamPath(servicePath, requestPath, prefix string, strip bool, handling string) string {
	if servicePath == "" {
		servicePath = "/"
	}
	if prefix == "" { // of a route without paths
		prefix = "/"
	}
	rest := withoutDots(requestPath[min(len(prefix), len(requestPath)):])
	join := joinSegments
	if handling == "v1" {
		join = joinText
	}
	return entity.EscapePath(join(servicePath, requestPath, rest, strip))
}

// withoutDots removes a "." or ".." that became a segment of its own when a
// prefix like "/a" was taken from "/a../b".
func withoutDots(rest string) string {
	switch {
	case rest == "." || rest == "..":
		return ""
	case strings.HasPrefix(rest, "./"):
		return rest[2:]
	case strings.HasPrefix(rest, "../"):
		return rest[3:]
	}
	return rest
}

func joinSegments(base, path, rest string, strip bool) string {
	dir, isDir := strings.CutSuffix(base, "/")
	switch {
	case !strip && isDir:
		return base + strings.TrimPrefix(path, "/")
	case !strip && path == "/":
		return base
	case !strip:
		return base + path
	case rest != "":
		return dir + "/" + strings.TrimPrefix(rest, "/")
	case base == "/":
		return base
	case strings.HasSuffix(path, "/") && (isDir || len(path) > 1):
		return dir + "/"
	}
	return dir
}

func joinText(base, path, rest string, strip bool) string {
	if !strip {
		return base + strings.TrimPrefix(path, "/")
	}
	if strings.HasSuffix(base, "/") {
		rest = strings.TrimPrefix(rest, "/")
	}
	return base + rest
}
