/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which packets nobody wants, decided before they are copied. Every condition
 * that is not in use is a constant, so the verifier removes its code.
 *
 * Which process a packet belongs to is known only where it sends: at ingress
 * anybody may run. So a socket remembers what was said of its senders, and an
 * answer is wanted when one of them is. Of a socket that nobody was seen to
 * send on, because it is older than we are or only listens so far, everything
 * is wanted. All this never drops what is wanted; who asks exactly is decided
 * behind the pairing, from identity.refused.
 */
#pragma once

#define MAX_VALUES 16 /* of one condition */

/* By these packets are counted that nobody wants: source.Rule */
enum rule {
	RULE_NONE = 0,
	RULE_RESPONSES = 1,
	RULE_SERVER = 2,
	RULE_NETNS = 3,
	RULE_PID = 4,
	RULE_UID = 5,
	RULE_COMM = 6,
	RULE_CGROUP = 7,
};

/* Words in the order of the wire; of IPv4 the first one. */
struct prefix {
	__u32 addr[4];
	__u32 mask[4];
	__u32 version; /* 4 or 6 */
};

struct comm_prefix {
	__u64 comm[2];
	__u64 mask[2];
};

const volatile bool only_responses = false;
const volatile __u32 server_count = 0;
const volatile struct prefix servers[MAX_VALUES] = {};
const volatile bool servers_any_end = false;
const volatile __u32 netns_count = 0;
const volatile __u32 netns_inodes[MAX_VALUES] = {};
const volatile bool by_process = false; /* any of the following */
const volatile bool by_pid = false;
const volatile bool follow_forks = false;
const volatile __u32 uid_count = 0;
const volatile __u32 uids[MAX_VALUES] = {};
const volatile __u32 comm_count = 0;
const volatile struct comm_prefix comms[MAX_VALUES] = {};
const volatile bool by_cgroup = false;

/* Processes that are wanted, by tgid. With follow_forks their children join
 * them; whoever ends leaves. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8);
} traced SEC(".maps");

/* Ids of the cgroups whose processes are wanted, and those of their descendants. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u8);
} cgroups SEC(".maps");

/* What is known of a socket's senders. */
enum verdict {
	VERDICT_NONE = 0,
	VERDICT_WANTED = 1, /* one of them is wanted; that stays */
	VERDICT_REFUSED = 2, /* plus the rule that refused the last one */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} verdicts SEC(".maps");

static __always_inline bool is_server(const __u32 *addr, __u32 version)
{
	for (int i = 0; i < MAX_VALUES; i++) {
		if (i >= server_count)
			break;
		if (servers[i].version != version || ((addr[0] ^ servers[i].addr[0]) & servers[i].mask[0]))
			continue;
		if (version == 4 || !(((addr[1] ^ servers[i].addr[1]) & servers[i].mask[1]) |
				      ((addr[2] ^ servers[i].addr[2]) & servers[i].mask[2]) |
				      ((addr[3] ^ servers[i].addr[3]) & servers[i].mask[3])))
			return true;
	}
	return false;
}

/*
 * The server is the end with a DNS port, or either when both or none have one,
 * or always with servers_any_end.
 */
static __noinline bool refused_by_server(struct __sk_buff *skb, bool from, bool to)
{
	__u32 src[4] = {}, dst[4] = {}, version = 6;
	__u8 first = 0;
	long err;

	if (!skb)
		return false;
	bpf_skb_load_bytes(skb, 0, &first, 1);
	if (first >> 4 == 4) {
		version = 4;
		err = bpf_skb_load_bytes(skb, 12, src, 4) | bpf_skb_load_bytes(skb, 16, dst, 4);
	} else {
		err = bpf_skb_load_bytes(skb, 8, src, 16) | bpf_skb_load_bytes(skb, 24, dst, 16);
	}
	if (err)
		return false;
	if (servers_any_end)
		from = to = true;
	return !((from || !to) && is_server(src, version)) && !((to || !from) && is_server(dst, version));
}

static __always_inline bool listed(const volatile __u32 *list, __u32 n, __u32 value)
{
	for (int i = 0; i < MAX_VALUES; i++) {
		if (i >= n)
			break;
		if (list[i] == value)
			return true;
	}
	return false;
}

static __always_inline bool comm_wanted(const char *comm)
{
	__u64 word[2];

	__builtin_memcpy(word, comm, sizeof(word));
	for (int i = 0; i < MAX_VALUES; i++) {
		if (i >= comm_count)
			break;
		if (!(((word[0] ^ comms[i].comm[0]) & comms[i].mask[0]) |
		      ((word[1] ^ comms[i].comm[1]) & comms[i].mask[1])))
			return true;
	}
	return false;
}

/* Whether the cgroup of a task or one above it is wanted. */
static __always_inline bool cgroup_wanted(struct task_struct *t)
{
	struct cgroup *own = BPF_CORE_READ(t, cgroups, dfl_cgrp);
	int level = BPF_CORE_READ(own, level);

	for (int i = 0; i < 64; i++) {
		__u64 id = 0;

		if (i > level)
			break;
		if (bpf_core_field_exists(own->ancestors)) { /* 6.1 */
			struct cgroup *above = NULL;

			bpf_probe_read_kernel(&above, sizeof(above),
					      (void *)own + bpf_core_field_offset(struct cgroup, ancestors) + i * sizeof(above));
			id = BPF_CORE_READ(above, kn, id);
		} else {
			bpf_probe_read_kernel(&id, sizeof(id),
					      (void *)own + bpf_core_field_offset(struct cgroup___old, ancestor_ids) + i * sizeof(id));
		}
		if (bpf_map_lookup_elem(&cgroups, &id))
			return true;
	}
	return false;
}

/* The first rule that refuses a process. */
static __always_inline __u32 refused_process(const struct identity *id, struct task_struct *t)
{
	__u32 tgid = id->tgid; /* before 6.2 a key may not lie in a ring buffer */

	if (!by_process)
		return RULE_NONE;
	if (by_pid && !bpf_map_lookup_elem(&traced, &tgid))
		return RULE_PID;
	if (uid_count && !listed(uids, uid_count, id->uid))
		return RULE_UID;
	if (comm_count && !comm_wanted(id->comm))
		return RULE_COMM;
	if (by_cgroup && !cgroup_wanted(t))
		return RULE_CGROUP;
	return RULE_NONE;
}
