package listen

import "golang.org/x/sys/unix"

// steerTo makes the group of sockets that fd belongs to give new connections to
// the members with these numbers only, at random; to all of them if there are
// none. The kernel asks a classic BPF program which member to take
// (SO_ATTACH_REUSEPORT_CBPF, see socket(7)), and no privilege is needed. A
// number that does not exist makes it choose by itself.
func steerTo(fd uintptr, members []int) {
	if len(members) == 0 {
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
		return
	}
	const randomNumber = ^uint32(0x1000) + 1 + 56 // SKF_AD_OFF + SKF_AD_RANDOM
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: randomNumber},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(len(members))},
	}
	for i, member := range members {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(i), Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(member)})
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(members[0])})
	unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}
