module github.com/dnshark-io/dnshark/bench

go 1.26.0
