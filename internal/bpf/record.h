/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the programs and the reader (record.go) agree upon. */
#pragma once

/*
 * A packet on a wire has at most 65535 octets, but TCP hands the device several
 * segments as one, of up to two times 65509 octets on loopback. Only a
 * device set up for BIG TCP takes more.
 */
#define MAX_BYTES 131072
#define HEADER_BYTES 128 /* copied of packets that are not DNS */
#define WAKE_BYTES (64 << 10)

#define NAME_BYTES 256 /* NAME_MAX and its NUL */
#define PATH_BYTES (512 + NAME_BYTES)
#define ARGS_BYTES 256
#define CGROUP_BYTES 1024

/* What a sample is: a packet, by its direction, a birth of a process or a cgroup, or a receipt. */
enum {
	DIR_INGRESS = 1,
	DIR_EGRESS = 2,
	BIRTH_FORK = 3,
	BIRTH_EXEC = 4,
	RECEIPT = 5, /* a struct record: id took from the socket what came in */
	BIRTH_CGROUP = 6,
};

enum {
	WHO_NOBODY = 0, /* id is not filled */
	WHO_SENDER = 1, /* id sent this very packet */
	WHO_OWNER = 2, /* id last sent on the socket */
	WHO_CGROUP = 3, /* id.cgroup made the socket, nothing else is filled */
};

enum {
	RECORD_WHOLE = 1, /* a DNS packet, copied whole up to MAX_BYTES */
	RECORD_SHARED = 2, /* several processes send on the socket */
	RECORD_DEFERRED = 4, /* packets leave the socket outside of their senders' system calls */
	RECORD_AWAITED = 16, /* a receipt may follow */
	RECORD_HELD = 32, /* id has the socket open, and whether it sends is not known */
	RECORD_DOUBT = 8, /* the running task, in other, is not believed to be the sender */
};

enum reader_state {
	READER_BUSY = 0, /* will look at the ring again by itself */
	READER_NAPS = 1, /* the same, in some milliseconds */
	READER_SLEEPS = 2, /* waits to be woken */
};

/* event.Identity */
struct identity {
	__u64 start;
	__u64 cgroup;
	__u32 tgid;
	__u32 tid;
	__u32 ppid;
	__u32 uid;
	__u32 gid;
	__u32 netns;
	__u32 pidns;
	__u32 ns_tgid;
	char comm[16];
	__u32 exe_dev;
	__u32 exe_gen;
	__u64 exe_ino;
	__u32 refused; /* enum rule, of those by process; 0 when the process is wanted */
	__u32 zero;
};

struct record {
	__u64 time; /* CLOCK_MONOTONIC */
	__u64 cookie;
	__u32 ifindex;
	__u32 netns; /* inode of the socket's network namespace */
	__u32 wire_len;
	__u32 cap_len; /* of a receipt: the how manieth awaited packet, from the last one; 0 for all */
	char iface[16];
	__u8 dir;
	__u8 who;
	__u8 flags;
	__u8 zero;
	__u32 other_tgid;
	struct identity id;
	char other_comm[16];
	__u8 data[]; /* from the IP header on */
};

_Static_assert(__builtin_offsetof(struct record, iface) == 32 && __builtin_offsetof(struct record, dir) == 48 &&
		       __builtin_offsetof(struct record, id) == 56 && sizeof(struct record) == 160,
	       "Record in record.go");

/* A process that runs something new. Told from a record by kind. */
struct birth {
	__u64 time; /* CLOCK_MONOTONIC */
	__u64 parent_start; /* of a fork: who forked, as in struct identity */
	__u32 parent_tgid;
	/* Of an exec: octets and 1; of a cgroup: octets; 0 when unknown. */
	__u32 path_len;
	__u32 args_len; /* of an exec, up to ARGS_BYTES */
	__u32 cwd_len; /* of an exec: the working directory, as path_len */
	__u32 zero[4];
	__u8 kind;
	__u8 zero2[7];
	struct identity id; /* of a cgroup: only id.cgroup */
	__u64 zero3[2];
	/* Of an exec: path in PATH_BYTES, args in ARGS_BYTES, cwd in PATH_BYTES; of a cgroup: path. */
	char data[];
};

_Static_assert(__builtin_offsetof(struct birth, kind) == __builtin_offsetof(struct record, dir) &&
		       __builtin_offsetof(struct birth, id) == __builtin_offsetof(struct record, id) &&
		       sizeof(struct birth) == sizeof(struct record),
	       "Birth in record.go");

#define RULES 8 /* of enum rule */

/* seen == submitted + ring_full + copy_error + filtered, once the programs are quiet. */
struct counters {
	__u64 seen;
	__u64 submitted;
	__u64 ring_full;
	__u64 copy_error;
	__u64 fragments; /* passed over: not the first, so without ports */
	__u64 truncated; /* submitted, but longer than MAX_BYTES */
	__u64 births_lost; /* the ring was full */
	__u64 receipts_lost; /* the same */
	__u64 follow_lost; /* children that there was no room for among the traced */
	__u64 filtered[RULES];
};
