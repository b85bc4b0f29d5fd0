//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Copies the DNS packets of every IPv4 and IPv6 socket of the host to a ring
 * buffer, each with the task that sent it. Attached to the root of cgroup v2,
 * where one attachment covers all network namespaces. Two more programs tell of
 * forks and execs, through the same ring: there a process is born before it asks.
 *
 * These programs are preemptible and a softirq may run them again on the same
 * CPU in between. So there is no per-CPU scratch memory, and counters are
 * atomic although they are per CPU.
 */
#include "vmlinux_min.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "filter.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define IPPROTO_HOPOPTS 0
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_AH 51
#define IPPROTO_DSTOPTS 60

#define AF_INET 2
#define AF_INET6 10
#define TCP_FIN_SYN_RST 0x07
#define MSG_PEEK 2
#define MSG_ERRQUEUE 0x2000
#define TCP_SYN 0x02
#define PF_KTHREAD 0x00200000
#define INIT_PID_NS 0xEFFFFFFCu /* PID_NS_INIT_INO of linux/nsfs.h */

/*
 * A bit per port, in the order in which the port's two octets are read from
 * the wire by a little endian machine: no swap, one load and one test however
 * many ports there are.
 */
const volatile __u64 dns_ports[1024] = {};
const volatile bool all_packets = false;
/*
 * Whether the verifier follows kernel pointers for us. Otherwise every step is
 * a helper call, which works from 5.8 on and costs several times as much.
 */
const volatile bool follow_task = false; /* bpf_get_current_task_btf, 5.16 */
const volatile bool follow_skb = false; /* bpf_cast_to_kern_ctx, 6.2 */
const volatile bool skb_cgroup = false; /* the kernel has bpf_skb_cgroup_id */

extern void *bpf_cast_to_kern_ctx(void *) __weak __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* What the reader is doing: enum reader_state, mapped into its memory. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} reader SEC(".maps");

/*
 * The process that last sent on a socket. Without the lock two processes that
 * share a socket could leave a mixture of both.
 *
 * Of TCP's octets, those from sequence number `from` up to `end` are its own.
 * What was sent before `from` was not, or nobody knows; what comes after `end`
 * belongs to a system call that has not finished.
 */
struct owner {
	struct bpf_spin_lock lock;
	__u32 from;
	__u32 end;
	__u32 flags;
	__u32 waiting; /* packets that came in and were not received */
	__u32 reader; /* process that received, 0 when nobody did yet */
	__u64 reader_start;
	struct identity id; /* tgid is 0 when nobody is known */
};

enum {
	OWNER_SHARED = 1, /* several processes have sent */
	OWNER_FINISHED = 2, /* TCP: end is known */
	OWNER_SENT = 4, /* a packet left in the present system call of id */
	OWNER_DEFERRED = 8, /* UDP: a system call finished before its packet left */
	OWNER_ASKS = 16, /* packets go to a DNS port */
	OWNER_READERS = 32, /* several processes have received */
	OWNER_MUDDLED = 64, /* UDP: several packets have waited at once, and some still do */
	OWNER_HELD = 128, /* id has the socket open; nobody was seen to send */
	OWNER_CALLED = 256, /* UDP, not connected: somebody is about to send to a DNS port */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct owner);
} owners SEC(".maps");

struct packet {
	__u32 l4; /* offset of the transport header */
	__u8 proto;
	bool dns; /* wanted whole */
	bool asks, answers; /* to or from a DNS port */
	bool syn;
	__u32 payload; /* octets of the application's data */
};

/* What only the kernel's own structures tell about the packet. */
struct view {
	bool locked; /* a task is inside a system call on this socket */
};

/* A chain of pointers, followed by the verifier's leave or by helper calls. */
#define ARROW(src, ...) ___arrow(src, ##__VA_ARGS__)
#define READ(src, ...) (direct ? ARROW(src, __VA_ARGS__) : BPF_CORE_READ(src, __VA_ARGS__))

static __always_inline void count(__u64 *c)
{
	__sync_fetch_and_add(c, 1);
}

static __always_inline bool load(struct __sk_buff *skb, __u32 off, void *to, __u32 n)
{
	return bpf_skb_load_bytes(skb, off, to, n) == 0;
}

static __always_inline bool is_dns_port(__u16 wire)
{
	return dns_ports[wire >> 6] >> (wire & 63) & 1;
}

/*
 * Walks IPv6 extension headers (RFC 8200 section 4). Eight of them are more
 * than any honest packet has. Returns false for a fragment that is not the
 * first one; proto is then the fragment header's.
 */
static __noinline bool skip_extensions(struct __sk_buff *skb, struct packet *p)
{
	struct {
		__u8 next, len;
		__be16 frag;
	} h;

	if (!p)
		return true;
	for (int i = 0; i < 8; i++) {
		__u8 proto = p->proto;

		if (proto != IPPROTO_HOPOPTS && proto != IPPROTO_ROUTING &&
		    proto != IPPROTO_DSTOPTS && proto != IPPROTO_FRAGMENT && proto != IPPROTO_AH)
			return true;
		if (!load(skb, p->l4, &h, sizeof(h)))
			return true;
		p->proto = h.next;
		if (proto == IPPROTO_FRAGMENT) {
			if (h.frag & bpf_htons(0xfff8))
				return false;
			p->l4 += 8;
		} else if (proto == IPPROTO_AH) {
			p->l4 += (h.len + 2) * 4; /* RFC 4302: in words of 32 bits */
		} else {
			p->l4 += (h.len + 1) * 8;
		}
	}
	return true;
}

static __always_inline void set_payload(struct packet *p, struct __sk_buff *skb, __u32 at)
{
	p->payload = skb->len > at ? skb->len - at : 0;
}

/* Says whether the packet is wanted. Most packets of a host are not. */
static __always_inline bool classify(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u8 *ip = data;
	bool first = true;
	__u16 ports[2];
	__u64 l4;

	if (data + 20 > end)
		return false;
	if (*ip >> 4 == 4) {
		p->l4 = (*ip & 15) * 4;
		p->proto = ip[9];
		first = !(*(__be16 *)(ip + 6) & bpf_htons(0x1fff));
	} else {
		if (data + 40 > end)
			return false;
		p->l4 = 40;
		p->proto = ip[6];
		if (p->proto != IPPROTO_UDP && p->proto != IPPROTO_TCP)
			first = skip_extensions(skb, p);
	}
	if (p->proto != IPPROTO_UDP && p->proto != IPPROTO_TCP)
		return all_packets;
	if (!first) {
		__u32 zero = 0;
		struct counters *c = bpf_map_lookup_elem(&counters, &zero);

		if (c)
			count(&c->fragments);
		return all_packets;
	}

	l4 = p->l4;
	asm volatile("" : "+r"(l4)); /* tested and used in one register */
	if (l4 <= 60 && data + l4 + 4 <= end) {
		__u16 *h = data + l4;

		ports[0] = h[0];
		ports[1] = h[1];
	} else if (!load(skb, l4, ports, sizeof(ports))) {
		return all_packets;
	}
	p->asks = is_dns_port(ports[1]);
	p->answers = is_dns_port(ports[0]);
	p->dns = p->asks || p->answers;
	if (!p->dns && !all_packets)
		return false;

	if (p->proto == IPPROTO_TCP) {
		__u8 tcp[2]; /* data offset, flags */

		if (!load(skb, l4 + 12, tcp, sizeof(tcp)))
			return all_packets;
		set_payload(p, skb, p->l4 + (tcp[0] >> 4) * 4);
		p->syn = tcp[1] & TCP_SYN;
		if (!p->payload && !(tcp[1] & TCP_FIN_SYN_RST))
			p->dns = false;
	} else {
		set_payload(p, skb, p->l4 + 8);
	}
	return p->dns || all_packets;
}

/* Fills id from a task, whose process it describes. */
static __always_inline void identify(struct identity *id, struct task_struct *t, const bool direct)
{
	struct task_struct *leader = READ(t, group_leader);
	struct file *exe = READ(t, mm, exe_file);
	struct pid *pid = READ(leader, thread_pid);
	__u32 level = READ(pid, level);

	id->start = READ(leader, start_boottime);
	id->cgroup = READ(t, cgroups, dfl_cgrp, kn, id);
	id->tgid = READ(t, tgid);
	id->tid = READ(t, pid);
	id->ppid = READ(leader, real_parent, tgid);
	id->uid = READ(t, real_cred, uid.val);
	id->gid = READ(t, real_cred, gid.val);
	id->netns = READ(t, nsproxy, net_ns, ns.inum);
	id->exe_dev = 0;
	id->exe_gen = 0;
	id->exe_ino = 0;
	if (exe) { /* the verifier knows that there may be none */
		struct inode *inode = READ(exe, f_inode);

		id->exe_dev = READ(inode, i_sb, s_dev);
		id->exe_gen = READ(inode, i_generation);
		id->exe_ino = READ(inode, i_ino);
	}
	bpf_probe_read_kernel(id->comm, sizeof(id->comm), &leader->comm);

	id->pidns = INIT_PID_NS;
	id->ns_tgid = id->tgid;
	if (level) {
		/* A pid has one number per namespace level; the last is its own.
		 * What a helper read is no pointer to the verifier: before 6.2
		 * nothing variable may be added to one. */
		__u64 at = (__u64)BPF_CORE_READ(leader, thread_pid) + bpf_core_field_offset(struct pid, numbers) +
			   level * bpf_core_type_size(struct upid);
		struct upid *own = (struct upid *)at;

		id->ns_tgid = BPF_CORE_READ(own, nr);
		id->pidns = BPF_CORE_READ(own, ns, ns.inum);
	}
	id->refused = refused_process(id, t);
	id->zero = 0;
}

static __always_inline bool is_process(struct task_struct *t, const bool direct)
{
	return !(READ(t, flags) & PF_KTHREAD) && READ(t, mm);
}

/* Fills id from the running task, unless that is a kernel thread. */
static __always_inline bool identify_current(struct identity *id)
{
	struct task_struct *t;

	if (follow_task) {
		t = bpf_get_current_task_btf();
		if (!is_process(t, true))
			return false;
		identify(id, t, true);
	} else {
		t = (struct task_struct *)bpf_get_current_task();
		if (!is_process(t, false))
			return false;
		identify(id, t, false);
	}
	return true;
}

static __always_inline bool same_process(const struct identity *a, const struct identity *b)
{
	return a->tgid == b->tgid && a->start == b->start;
}

/*
 * Whether the running task, in id, sends the octets of a packet that leaves a
 * socket: from seq on, where it is TCP. It is called under the owner's lock.
 *
 * UDP leaves in the system call that sends it, so the running task is the
 * sender. Only where netfilter hands packets to a queue (NFQUEUE) a daemon
 * sends them, later; then the finished system calls tell (dnshark_sent).
 *
 * TCP sends whenever the window opens: from a softirq that interrupted
 * anybody, or from whichever process happens to use the socket. sk_lock.owned
 * tells the first case: a task holds the socket for the length of its system
 * call, and meanwhile softirqs and timers only queue their work for it
 * (tcp_v4_rcv and tcp_write_timer test sock_owned_by_user). The other case is
 * a task that only flushes what another process had queued: octets of a
 * finished system call.
 */
static __always_inline bool sends(const struct owner *o, const struct identity *id, bool udp, __u32 seq)
{
	bool same = same_process(&o->id, id);

	if (!o->id.tgid || o->flags & OWNER_HELD)
		return true;
	if (udp)
		return same || !(o->flags & OWNER_DEFERRED);
	if (same && !(o->flags & OWNER_SHARED))
		return true;
	return o->flags & OWNER_FINISHED && (__s32)(seq - o->end) >= 0;
}

/* Whether octets from seq up to next are the owner's, whoever runs. */
static __always_inline bool owns(const struct owner *o, bool udp, __u32 seq, __u32 next)
{
	if (!(o->flags & OWNER_SHARED))
		return true;
	return !udp && o->flags & OWNER_FINISHED && (__s32)(seq - o->from) >= 0 && (__s32)(o->end - next) >= 0;
}

/* Fills rec->id, rec->who and rec->other. */
static __always_inline void attribute(struct __sk_buff *skb, struct record *rec, struct packet *p,
				      struct view *v)
{
	bool egress = rec->dir == DIR_EGRESS && p->payload, udp = p->proto == IPPROTO_UDP;
	struct bpf_sock *sk = skb->sk;
	struct owner *o = NULL;
	bool sender = false;
	__u32 seq = 0;

	if (egress && !udp) {
		load(skb, p->l4 + 4, &seq, sizeof(seq));
		seq = bpf_ntohl(seq);
	}
	if (egress && (udp || v->locked))
		sender = identify_current(&rec->id);
	rec->who = sender ? WHO_SENDER : WHO_NOBODY;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (sk)
		o = bpf_sk_storage_get(&owners, sk, 0, sender ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (!o) {
		if (!sender && skb_cgroup) {
			rec->id.cgroup = bpf_skb_cgroup_id(skb);
			rec->who = WHO_CGROUP;
		}
		return;
	}

	bpf_spin_lock(&o->lock);
	if (sender && sends(o, &rec->id, udp, seq)) {
		if (o->flags & OWNER_HELD) {
			o->flags &= OWNER_CALLED;
			o->from = seq;
		} else if (!same_process(&o->id, &rec->id)) {
			if (o->id.tgid)
				o->flags |= OWNER_SHARED;
			o->from = seq;
		}
		o->id = rec->id;
		o->flags |= OWNER_SENT | (p->asks ? OWNER_ASKS : 0);
	} else {
		if (sender) {
			/* Who only flushes the octets of a finished call is no doubt. */
			if (udp || !(o->flags & OWNER_FINISHED) || (__s32)(o->end - seq - p->payload) < 0) {
				rec->flags |= RECORD_DOUBT;
				rec->other_tgid = rec->id.tgid;
				__builtin_memcpy(rec->other_comm, rec->id.comm, sizeof(rec->other_comm));
				if (!udp)
					o->flags |= OWNER_SHARED;
			}
			rec->who = WHO_NOBODY;
		}
		if (o->id.tgid && (!egress || owns(o, udp, seq, seq + p->payload))) {
			rec->id = o->id;
			rec->who = WHO_OWNER;
		}
	}
	if (o->flags & OWNER_SHARED)
		rec->flags |= RECORD_SHARED;
	if (o->flags & OWNER_DEFERRED)
		rec->flags |= RECORD_DEFERRED;
	if (o->flags & OWNER_HELD)
		rec->flags |= RECORD_HELD;
	if (rec->dir == DIR_INGRESS && p->payload && o->flags & OWNER_ASKS) {
		o->waiting++;
		rec->flags |= RECORD_AWAITED;
	}
	bpf_spin_unlock(&o->lock);
}

static __always_inline void look(struct sk_buff *skb, struct record *rec, struct view *v, const bool direct)
{
	struct net_device *dev = READ(skb, dev);
	struct sock *sk = READ(skb, sk);

	rec->netns = 0;
	if (sk) {
		rec->netns = READ(sk, __sk_common.skc_net.net, ns.inum);
		v->locked = READ(sk, sk_lock.owned) != 0;
	}
	bpf_probe_read_kernel(rec->iface, sizeof(rec->iface), &dev->name);
}

/* What a wanted process has queued may leave when another one runs. */
static __always_inline void remember_wanted(struct sock *sk)
{
	__u32 *v = bpf_sk_storage_get(&verdicts, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (v)
		*v = VERDICT_WANTED;
}

/*
 * The first rule by process that refuses the packet. A connection is known by
 * its SYN, which leaves in connect(2).
 */
static __noinline __u32 refused_by_process(struct __sk_buff *skb, struct packet *p, bool sends)
{
	struct bpf_sock *sk = skb->sk;
	struct identity id;
	__u32 *v, refused;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || !p)
		return RULE_NONE;
	v = bpf_sk_storage_get(&verdicts, sk, 0, 0);
	if (v && *v == VERDICT_WANTED)
		return RULE_NONE;
	if (!sends || !identify_current(&id))
		return v && *v ? *v - VERDICT_REFUSED : RULE_NONE;
	refused = id.refused;
	v = bpf_sk_storage_get(&verdicts, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (v)
		*v = refused ? VERDICT_REFUSED + refused : VERDICT_WANTED;
	return refused;
}

/* Responses alone: by their bit in datagrams, in streams by the ports. */
static __always_inline bool is_query(struct __sk_buff *skb, struct packet *p)
{
	__u8 flags;

	if (p->proto == IPPROTO_UDP)
		return p->payload && load(skb, p->l4 + 8 + 2, &flags, 1) && !(flags & 0x80);
	return p->asks && !p->answers;
}

/* The first rule that refuses the packet. */
static __always_inline __u32 refused(struct __sk_buff *skb, struct packet *p, const bool egress)
{
	if (only_responses && p->dns && is_query(skb, p))
		return RULE_RESPONSES;
	if (server_count && refused_by_server(skb, p->answers, p->asks))
		return RULE_SERVER;
	if (netns_count || by_process) {
		struct sk_buff *kernel = (struct sk_buff *)skb;
		struct sock *sk = BPF_CORE_READ(kernel, sk);

		if (!sk)
			return RULE_NONE;
		if (netns_count && !listed(netns_inodes, netns_count, BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum)))
			return RULE_NETNS;
		if (by_process)
			return refused_by_process(skb, p, egress && (p->proto == IPPROTO_UDP ||
				((p->payload || p->syn) && BPF_CORE_READ(sk, sk_lock.owned))));
	}
	return RULE_NONE;
}

/*
 * The verifier wants sizes of reservations to be constants, hence classes. The
 * packet goes straight into the ring.
 */
static __always_inline struct record *copy_class(struct __sk_buff *skb, __u32 n, const __u32 class,
						 struct counters *c)
{
	struct record *rec = bpf_ringbuf_reserve(&packets, sizeof(*rec) + class, 0);

	if (!rec) {
		count(&c->ring_full);
		return NULL;
	}
	/* n > 0, in the one form that every verifier follows: before 6.8 none
	 * learns from "not equal". The compiler must not undo it. */
	n--;
	asm volatile("" : "+r"(n));
	if (n >= class || bpf_skb_load_bytes(skb, 0, rec->data, n + 1)) {
		bpf_ringbuf_discard(rec, BPF_RB_NO_WAKEUP);
		count(&c->copy_error);
		return NULL;
	}
	return rec;
}

static __always_inline struct record *copy(struct __sk_buff *skb, __u32 n, struct counters *c)
{
	if (n <= 128)
		return copy_class(skb, n, 128, c);
	if (n <= 256)
		return copy_class(skb, n, 256, c);
	if (n <= 512)
		return copy_class(skb, n, 512, c);
	if (n <= 1024)
		return copy_class(skb, n, 1024, c);
	if (n <= 2048)
		return copy_class(skb, n, 2048, c);
	if (n <= 4096)
		return copy_class(skb, n, 4096, c);
	if (n <= 16384)
		return copy_class(skb, n, 16384, c);
	if (n <= 65536)
		return copy_class(skb, n, 65536, c);
	return copy_class(skb, n, MAX_BYTES, c);
}

/*
 * A wake-up costs more than the copy, so a busy reader gets none, a napping
 * one only when much waits for it, and whoever wakes it says so to the rest.
 */
static __always_inline __u64 wakeup(void)
{
	__u32 zero = 0;
	volatile __u32 *state = bpf_map_lookup_elem(&reader, &zero);

	if (!state || *state == READER_BUSY)
		return BPF_RB_NO_WAKEUP;
	if (*state == READER_NAPS && bpf_ringbuf_query(&packets, BPF_RB_AVAIL_DATA) < WAKE_BYTES)
		return BPF_RB_NO_WAKEUP;
	*state = READER_BUSY;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline void observe(struct __sk_buff *skb, const __u8 dir)
{
	struct packet p = {};
	struct view v = {};
	struct counters *c;
	struct record *rec;
	__u32 zero = 0, rule, n;

	if (!classify(skb, &p))
		return;
	c = bpf_map_lookup_elem(&counters, &zero);
	if (!c)
		return;
	count(&c->seen);
	rule = refused(skb, &p, dir == DIR_EGRESS);
	if (rule) {
		count(&c->filtered[rule % RULES]);
		return;
	}

	n = skb->len;
	if (!p.dns && n > HEADER_BYTES)
		n = HEADER_BYTES;
	if (n > MAX_BYTES)
		n = MAX_BYTES;
	rec = copy(skb, n, c);
	if (!rec)
		return;
	rec->time = bpf_ktime_get_ns();
	rec->cookie = bpf_get_socket_cookie(skb);
	rec->ifindex = skb->ifindex;
	rec->wire_len = skb->len;
	rec->cap_len = n;
	rec->dir = dir;
	rec->flags = p.dns ? RECORD_WHOLE : 0;
	rec->zero = 0;
	rec->other_tgid = 0;
	if (follow_skb && bpf_cast_to_kern_ctx)
		look(bpf_cast_to_kern_ctx(skb), rec, &v, true);
	else
		/* The context is the sk_buff; only the verifier says otherwise,
		 * and to a helper it is just an address. */
		look((struct sk_buff *)skb, rec, &v, false);
	attribute(skb, rec, &p, &v);
	if (p.dns && n < skb->len)
		count(&c->truncated);
	count(&c->submitted);
	bpf_ringbuf_submit(rec, wakeup());
}

SEC("cgroup_skb/ingress")
int dnshark_ingress(struct __sk_buff *skb)
{
	observe(skb, DIR_INGRESS);
	return 1;
}

SEC("cgroup_skb/egress")
int dnshark_egress(struct __sk_buff *skb)
{
	observe(skb, DIR_EGRESS);
	return 1;
}

/*
 * Writes the names on the way from a file to the root of its mount namespace,
 * each with its NUL: what /proc/PID/exe shows, in reverse. Returns one more than
 * was written, or 0 when there is no such way, or it is too long. bpf_d_path does
 * this, but not in tracepoints. A path that is renamed meanwhile may come out
 * mixed, of names that all stood in directories which the renaming one may write
 * to.
 */
static __always_inline __u32 path_of(struct vfsmount *mnt, struct dentry *d, char *to)
{
	const __u64 in_mount = bpf_core_field_offset(struct mount, mnt);
	__u64 n = 0;

	for (int i = 0; i < 64; i++) {
		struct dentry *parent;
		const void *name;
		long got;

		if (d == BPF_CORE_READ(mnt, mnt_root)) {
			struct mount *m = (void *)mnt - in_mount;
			struct mount *below = BPF_CORE_READ(m, mnt_parent);

			if (below == m)
				return n + 1;
			d = BPF_CORE_READ(m, mnt_mountpoint);
			mnt = (void *)below + in_mount;
			continue;
		}
		parent = BPF_CORE_READ(d, d_parent);
		name = BPF_CORE_READ(d, d_name.name);
		asm volatile("" : "+r"(n)); /* tested and used in one register */
		if (parent == d || n > PATH_BYTES - NAME_BYTES)
			return 0;
		got = bpf_probe_read_kernel_str(to + n, NAME_BYTES, name);
		if (got <= 1)
			return 0;
		n += got;
		d = parent;
	}
	return 0;
}

/*
 * Half of the ring is the packets' own: whoever starts processes faster than
 * they are read must not hide what is asked meanwhile.
 */
static __always_inline struct birth *new_birth(const __u8 kind, const __u32 size)
{
	struct birth *b = NULL;
	__u32 zero = 0;

	if (bpf_ringbuf_query(&packets, BPF_RB_AVAIL_DATA) < bpf_ringbuf_query(&packets, BPF_RB_RING_SIZE) / 2)
		b = bpf_ringbuf_reserve(&packets, sizeof(*b) + size, 0);
	if (!b) {
		struct counters *c = bpf_map_lookup_elem(&counters, &zero);

		if (c)
			count(&c->births_lost);
		return NULL;
	}
	__builtin_memset(b, 0, __builtin_offsetof(struct birth, id));
	b->time = bpf_ktime_get_ns();
	b->kind = kind;
	b->zero3[0] = b->zero3[1] = 0;
	return b;
}

/*
 * Nobody waits for a birth before a query follows, which wakes the reader, nor
 * for a receipt, which follows an answer.
 */
static __always_inline void deliver(void *sample)
{
	bool much = bpf_ringbuf_query(&packets, BPF_RB_AVAIL_DATA) >= WAKE_BYTES;

	bpf_ringbuf_submit(sample, much ? wakeup() : BPF_RB_NO_WAKEUP);
}

/* sched_process_exec(struct task_struct *, pid_t, struct linux_binprm *) */
SEC("tp_btf/sched_process_exec")
int dnshark_exec(__u64 *ctx)
{
	struct task_struct *t = (void *)ctx[0];
	struct mm_struct *mm = t->mm;
	__u64 start, n;
	struct birth *b;

	b = new_birth(BIRTH_EXEC, 2 * PATH_BYTES + ARGS_BYTES);
	if (!b)
		return 0;
	identify(&b->id, t, true);
	b->cwd_len = path_of(BPF_CORE_READ(t, fs, pwd.mnt), BPF_CORE_READ(t, fs, pwd.dentry),
			     b->data + PATH_BYTES + ARGS_BYTES);
	if (mm) {
		struct file *exe = mm->exe_file;

		if (exe)
			b->path_len = path_of(BPF_CORE_READ(exe, f_path.mnt), BPF_CORE_READ(exe, f_path.dentry), b->data);
		start = mm->arg_start;
		n = mm->arg_end - start;
		if (n > ARGS_BYTES)
			n = ARGS_BYTES;
		if (n && !bpf_probe_read_user(b->data + PATH_BYTES, n, (void *)start))
			b->args_len = n;
	}
	deliver(b);
	return 0;
}

static __always_inline void follow_child(__u32 parent, __u32 child)
{
	__u32 zero = 0;
	__u8 yes = 1;
	struct counters *c;

	if (!bpf_map_lookup_elem(&traced, &parent) || !bpf_map_update_elem(&traced, &child, &yes, BPF_ANY))
		return;
	c = bpf_map_lookup_elem(&counters, &zero);
	if (c)
		count(&c->follow_lost);
}

/* sched_process_fork(struct task_struct *parent, struct task_struct *child) */
SEC("tp_btf/sched_process_fork")
int dnshark_fork(__u64 *ctx)
{
	struct task_struct *parent = (void *)ctx[0], *child = (void *)ctx[1];
	struct birth *b;

	if (child->pid != child->tgid || !is_process(child, true))
		return 0; /* a thread, of this process or of the kernel */
	if (follow_forks)
		follow_child(parent->tgid, child->tgid);
	b = new_birth(BIRTH_FORK, 0);
	if (!b)
		return 0;
	identify(&b->id, child, true);
	b->parent_tgid = parent->tgid;
	b->parent_start = parent->group_leader->start_boottime;
	deliver(b);
	return 0;
}

/* sched_process_exit(struct task_struct *): a process is gone with its last thread. */
SEC("tp_btf/sched_process_exit")
int dnshark_exit(__u64 *ctx)
{
	struct task_struct *t = (void *)ctx[0];
	__u32 tgid = t->tgid;

	if (t->signal->live.counter == 0)
		bpf_map_delete_elem(&traced, &tgid);
	return 0;
}

static __always_inline bool is_inet(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || family == AF_INET6;
}

/* Whether the socket is connected to a DNS port. */
static __always_inline bool to_dns(struct sock *sk)
{
	return is_inet(sk) && is_dns_port(sk->__sk_common.skc_dport) &&
	       (sk->sk_protocol == IPPROTO_TCP || sk->sk_protocol == IPPROTO_UDP);
}

/*
 * sock_send_length(struct sock *, int ret, int flags): a system call that sent
 * has finished, in the context of its task. It comes too late to tell who sends
 * the packet, but it tells for certain who has queued octets that leave later.
 * It fires for every socket of the host, hence the test for an owner first.
 */
SEC("tp_btf/sock_send_length")
int dnshark_sent(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct identity id;
	struct owner *o;
	__u32 n = ctx[1], end = 0;
	bool tcp, whole, dns;

	o = bpf_sk_storage_get(&owners, sk, 0, 0);
	if ((!o || (o->flags & (OWNER_HELD | OWNER_CALLED)) == OWNER_HELD) && !to_dns(sk))
		return 0;
	if ((int)n <= 0 || !identify_current(&id))
		return 0;
	if (!o)
		o = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!o)
		return 0;
	if (by_process && !id.refused)
		remember_wanted(sk);
	tcp = sk->sk_protocol == IPPROTO_TCP;
	dns = to_dns(sk);
	if (tcp)
		end = BPF_CORE_READ((struct tcp_sock *)sk, write_seq);

	bpf_spin_lock(&o->lock);
	if (o->flags & OWNER_HELD) {
		o->flags &= OWNER_CALLED;
		o->id.tgid = 0;
	}
	if (tcp) {
		/* Otherwise octets of another call lie in between. */
		whole = o->flags & OWNER_FINISHED && end - n == o->end;
		if (!same_process(&o->id, &id)) {
			o->from = whole || !o->id.tgid ? end - n : end;
			if (o->id.tgid)
				o->flags |= OWNER_SHARED;
			o->id = id;
		} else if (o->flags & OWNER_FINISHED && o->flags & OWNER_SHARED && !whole) {
			o->from = end;
		}
		o->end = end;
		o->flags |= OWNER_FINISHED;
	} else if (dns || o->flags & OWNER_CALLED) {
		if (o->flags & OWNER_SENT && same_process(&o->id, &id)) {
			o->flags &= ~OWNER_DEFERRED;
		} else if (o->flags & OWNER_DEFERRED) {
			if (!same_process(&o->id, &id))
				o->flags |= OWNER_SHARED;
			o->id = id;
		} else if (!(o->flags & OWNER_SHARED)) {
			o->flags |= OWNER_DEFERRED | OWNER_ASKS;
			o->id = id;
		}
	}
	o->flags &= ~(OWNER_SENT | OWNER_CALLED);
	bpf_spin_unlock(&o->lock);
	return 0;
}

/*
 * A datagram goes to an address of its own. Of a socket that is not connected
 * dnshark_sent would learn too late that it asks: after the first packet left.
 */
static __always_inline int call(struct bpf_sock_addr *ctx)
{
	struct owner *o;

	if (!is_dns_port(ctx->user_port) || !ctx->sk)
		return 1;
	o = bpf_sk_storage_get(&owners, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (o) {
		bpf_spin_lock(&o->lock);
		o->flags |= OWNER_CALLED;
		bpf_spin_unlock(&o->lock);
	}
	return 1;
}

SEC("cgroup/sendmsg4")
int dnshark_sendmsg4(struct bpf_sock_addr *ctx)
{
	return call(ctx);
}

SEC("cgroup/sendmsg6")
int dnshark_sendmsg6(struct bpf_sock_addr *ctx)
{
	return call(ctx);
}

/*
 * sock_recv_length(struct sock *, int ret, int flags): a system call has
 * received, in the context of its task, which is so known to have the answer.
 * UDP hands datagrams out in order, so the one that was taken is known by how
 * many waited, if nothing else waits between them. Of TCP it is known who took
 * the octets once there are none left. Where several processes receive, that
 * takes some luck; nobody guesses.
 */
SEC("tp_btf/sock_recv_length")
int dnshark_received(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	__u32 reader, waiting, zero = 0;
	struct task_struct *t;
	struct record *rec;
	struct owner *o;
	bool tcp, sure, again;
	__u32 queued = 0;
	__u64 start;

	o = bpf_sk_storage_get(&owners, sk, 0, 0);
	if (!o || !o->waiting || (int)ctx[1] <= 0 || ctx[2] & (MSG_PEEK | MSG_ERRQUEUE))
		return 0;
	tcp = sk->sk_protocol == IPPROTO_TCP;
	if (tcp && BPF_CORE_READ((struct tcp_sock *)sk, copied_seq) != BPF_CORE_READ((struct tcp_sock *)sk, rcv_nxt))
		return 0;
	if (!tcp)
		queued = BPF_CORE_READ(sk, sk_receive_queue.qlen) + BPF_CORE_READ((struct udp_sock *)sk, reader_queue.qlen);
	t = (struct task_struct *)bpf_get_current_task();
	reader = bpf_get_current_pid_tgid() >> 32;
	start = BPF_CORE_READ(t, group_leader, start_boottime);

	bpf_spin_lock(&o->lock);
	waiting = o->waiting;
	again = o->reader == reader && o->reader_start == start;
	if (o->reader && !again)
		o->flags |= OWNER_READERS;
	o->reader = reader;
	o->reader_start = start;
	sure = !(o->flags & OWNER_READERS) && (tcp || again);
	if (!tcp && waiting == 1 && !(o->flags & OWNER_MUDDLED))
		sure = true;
	if (waiting > 1)
		o->flags |= OWNER_MUDDLED;
	if (!tcp && waiting < queued + 1) { /* what was taken may have come from another port */
		sure = false;
		o->flags |= OWNER_MUDDLED;
		o->waiting = waiting < queued ? waiting : queued;
	} else {
		o->waiting = tcp || !waiting ? 0 : waiting - 1;
	}
	if (!o->waiting)
		o->flags &= ~OWNER_MUDDLED;
	bpf_spin_unlock(&o->lock);
	if (!sure || !waiting)
		return 0;

	rec = bpf_ringbuf_reserve(&packets, sizeof(*rec), 0);
	if (!rec) {
		struct counters *c = bpf_map_lookup_elem(&counters, &zero);

		if (c)
			count(&c->receipts_lost);
		return 0;
	}
	if (!identify_current(&rec->id)) {
		bpf_ringbuf_discard(rec, BPF_RB_NO_WAKEUP);
		return 0;
	}
	rec->time = bpf_ktime_get_ns();
	rec->cookie = bpf_get_socket_cookie(sk);
	rec->cap_len = tcp ? 0 : waiting;
	rec->dir = RECEIPT;
	deliver(rec);
	return 0;
}

/*
 * Runs once for every open file of every process. Sockets that are older than
 * the other programs get as owner the process that has them open, and none when
 * several do, until somebody sends.
 */
SEC("iter/task_file")
int dnshark_seed(struct bpf_iter__task_file *ctx)
{
	struct task_struct *t = ctx->task;
	struct file *file = ctx->file;
	struct identity id;
	struct socket *socket;
	struct owner *o;
	struct sock *sk;

	if (!t || !file || !is_process(t, true))
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	/* UDP sockets that are not connected may ask anybody. */
	if (!sk || (!to_dns(sk) && !(sk->sk_protocol == IPPROTO_UDP && !sk->__sk_common.skc_dport && is_inet(sk))))
		return 0;
	o = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!o)
		return 0;
	identify(&id, t, true);

	bpf_spin_lock(&o->lock);
	if (!o->id.tgid) {
		o->id = id;
		o->flags = OWNER_HELD;
	} else if (o->flags & OWNER_HELD && !same_process(&o->id, &id)) {
		o->flags |= OWNER_SHARED;
	}
	bpf_spin_unlock(&o->lock);
	return 0;
}

/*
 * cgroup_mkdir(struct cgroup *, const char *path). The runtime of a container is
 * asked as soon as this is read, and the container may be gone in 50 ms, so the
 * reader is woken.
 */
SEC("tp_btf/cgroup_mkdir")
int dnshark_cgroup(__u64 *ctx)
{
	struct cgroup *cgroup = (void *)ctx[0];
	struct birth *b;
	long n;

	if (cgroup->root->hierarchy_id)
		return 0; /* of cgroup v1 */
	b = new_birth(BIRTH_CGROUP, CGROUP_BYTES);
	if (!b)
		return 0;
	__builtin_memset(&b->id, 0, sizeof(b->id));
	b->id.cgroup = cgroup->kn->id;
	n = bpf_probe_read_kernel_str(b->data, CGROUP_BYTES, (void *)ctx[1]);
	/* Without the NUL. A path that fills the space is cut, and unknown. */
	b->path_len = n > 1 && n < CGROUP_BYTES ? n - 1 : 0;
	bpf_ringbuf_submit(b, wakeup());
	return 0;
}
