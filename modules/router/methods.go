package router

// methods is a set of HTTP methods. Those that are not common are one element
// together. The empty set stands for all.
type methods uint16

const otherMethod methods = 1 << 15

func newMethods(list []string) (set methods) {
	for _, m := range list {
		set |= methodOf(m)
	}
	return set
}

func methodOf(name string) methods {
	switch name {
	case "GET":
		return 1 << 0
	case "POST":
		return 1 << 1
	case "PUT":
		return 1 << 2
	case "PATCH":
		return 1 << 3
	case "DELETE":
		return 1 << 4
	case "HEAD":
		return 1 << 5
	case "OPTIONS":
		return 1 << 6
	case "TRACE":
		return 1 << 7
	case "CONNECT":
		return 1 << 8
	}
	return otherMethod
}
