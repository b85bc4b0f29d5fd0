// Package bpf holds the programs that run in the kernel, as C and as committed
// objects, so that building dnshark needs no C compiler.
//
// Generating needs clang-19, llvm-strip-19 and the headers of libbpf-dev.
package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -tags linux -no-global-types -output-stem dnshark Dnshark dnshark.bpf.c -- -O2 -g -mcpu=v3 -Wall -Werror
