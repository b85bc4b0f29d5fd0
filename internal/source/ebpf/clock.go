//go:build linux

package ebpf

import "golang.org/x/sys/unix"

// clockOffset measures what to add to CLOCK_MONOTONIC, the programs' clock, for
// Unix time. Of a few tries it takes the one that was disturbed least.
func clockOffset() int64 {
	var before, wall, after unix.Timespec
	offset, best := int64(0), int64(1<<62)
	for range 3 {
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
		unix.ClockGettime(unix.CLOCK_REALTIME, &wall)
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)
		if width := after.Nano() - before.Nano(); width < best {
			best = width
			offset = wall.Nano() - before.Nano() - width/2
		}
	}
	return offset
}

func monotonic() int64 {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano()
}
