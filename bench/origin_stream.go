//go:build linux

package main

import (
	"os"
	"path/filepath"
	"syscall"
)

// serveStreams is what stands behind TCP proxies: pong sends back what it gets,
// once answers the first bytes and closes, bulk sends without end.
func serveStreams(pong, once, bulk, data string) error {
	l, err := newLoop()
	if err != nil {
		return err
	}
	file, err := os.Open(filepath.Join(data, "10m"))
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	listeners := make(map[int]string)
	for kind, addr := range map[string]string{"pong": pong, "once": once, "bulk": bulk} {
		fd, err := listenFD(addr)
		if err != nil {
			return err
		}
		listeners[fd] = kind
		if err := l.add(fd, syscall.EPOLLIN); err != nil {
			return err
		}
	}
	kinds := make(map[int]string)
	from := make(map[int]*int64)
	end := func(fd int) {
		syscall.Close(fd)
		delete(kinds, fd)
		delete(from, fd)
	}
	buf := make([]byte, 16<<10)
	for {
		events, err := l.wait(-1)
		if err != nil {
			return err
		}
		for _, event := range events {
			fd := int(event.Fd)
			if kind, ok := listeners[fd]; ok {
				for {
					conn, _, err := syscall.Accept4(fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
					if err != nil {
						break
					}
					if tune(conn) != nil || l.add(conn, edge) != nil {
						syscall.Close(conn)
						continue
					}
					kinds[conn], from[conn] = kind, new(int64)
				}
				continue
			}
			if kinds[fd] == "bulk" {
				if event.Events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
					end(fd)
					continue
				}
				for {
					if *from[fd] >= info.Size() {
						*from[fd] = 0
					}
					_, err := syscall.Sendfile(fd, int(file.Fd()), from[fd], int(info.Size()-*from[fd]))
					if err == syscall.EAGAIN {
						break
					}
					if err != nil {
						end(fd)
						break
					}
				}
				continue
			}
			if event.Events&syscall.EPOLLIN == 0 {
				if event.Events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
					end(fd)
				}
				continue
			}
			n, errno := read(fd, buf)
			switch {
			case errno == syscall.EAGAIN:
			case errno != 0 || n == 0:
				end(fd)
			case kinds[fd] == "once":
				write(fd, []byte(small))
				end(fd)
			default:
				if _, errno := write(fd, buf[:n]); errno != 0 {
					end(fd)
				}
			}
		}
	}
}
