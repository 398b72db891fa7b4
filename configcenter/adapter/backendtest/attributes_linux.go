package backendtest

import "syscall"

// attributes lets a server run as somebody, and end with the tests even when
// those are killed.
func attributes(c *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: c, Pdeathsig: syscall.SIGKILL}
}

// inMemory is a folder whose files are in memory; "": there is none with room.
func inMemory() string {
	const dir, room = "/dev/shm", 2 << 30
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil || int64(st.Bavail)*st.Bsize < room {
		return ""
	}
	return dir
}
