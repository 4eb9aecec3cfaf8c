# Thin calls of `cargo xtask`, which says what it does and installs what is missing.
.PHONY: help demo test dist image bench bench-check bench-quick bench-takeover fmt

XTASK := sh xtask/bootstrap && cargo xtask

help:
	@echo "make demo         the main job, live: pods, two routers, a server; prints expected and seen per flow"
	@echo "make test         everything the continuous integration checks"
	@echo "make dist         static plugin and stripped helper, in target/release"
	@echo "make image        container image for ctr, podman and docker, in target/image"
	@echo "make bench        what it costs and how fast it is, beside the alternatives; writes docs/performance.md"
	@echo "                  with KUBE_VIP=path beside kube-vip, too"
	@echo "make bench-check  the last figures against their aims"
	@echo "make bench-quick  cost of ADD and DEL against the reference plugins sbr, portmap and tuning"
	@echo "make bench-takeover  what pods notice when the owner of their address goes away"
	@echo "make fmt          format the sources"

demo test dist image bench bench-check bench-quick bench-takeover fmt:
	@$(XTASK) $@ $(ARGS)
