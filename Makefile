# Two commands do everything: `make run` (the main job) and `make test`. Each installs what it lacks
# with apt (as root, quietly, only if missing) and works offline afterwards.

SWIFT ?= swift
# What a Debian 12 machine with a Swift tool chain may lack: a C library to link against, and git
# for SwiftPM; for tests, programs that the shim must not disturb, and libdrm.
PACKAGES := git libc6-dev libstdc++-12-dev
TEST_PACKAGES := python3 strace gdb libdrm2
BUILD := $(SWIFT) build --quiet
# With Swift's run-time libraries inside: what is installed needs no tool chain.
RELEASE := $(BUILD) -c release --static-swift-stdlib
VECTORS := Tests/GPUVMCoreTests/Vectors
# The thread sanitizer's link step needs lld: gold warns or crashes.
TSAN := --sanitize=thread --scratch-path .build-tsan -Xswiftc -use-ld=lld

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc

.PHONY: run run-vulkan test ci lint shim test-tsan test-seeds test-mutants test-vulkan \
  test-vulkan-next test-vulkan-program test-systemd test-hostile soak fuzz test-asan \
  test-kernel bench-vulkan install uninstall debootstrap packages docs clean

run: packages
	@echo "== build (release)"
	@$(RELEASE) --product gpuvmd
	@$(RELEASE) --product gpuvmctl
	@$(RELEASE) --product gpuvm-drm-shim
	@echo "== the recorded kernel scenarios, through the core"
	@.build/release/gpuvmctl vectors check $(VECTORS)
	@echo "== the main job: a client process, a daemon, a simulated GPU"
	@.build/release/gpuvmctl demo
	@echo "== memory under pressure: three clients, VRAM over-committed four times"
	@.build/release/gpuvmctl demo --pressure --seconds 5
	@echo "== a Vulkan driver, where NVK is at hand"
	@Tests/run-vulkan-picture --if-at-hand
	@echo "run: PASS"

# A Vulkan program on Mesa's NVK: the device, a picture of its address space, what was done for it.
run-vulkan: packages debootstrap
	@Tests/run-vulkan-picture

test: PACKAGES += $(TEST_PACKAGES)
test: packages lint
	@echo "== build (debug, with tests)"
	@$(BUILD) --build-tests
	@echo "== tests"
	@Tests/run-tests
	@echo "test: PASS"

ci: test test-tsan test-seeds test-mutants test-systemd test-hostile test-vulkan-program \
  test-vulkan test-vulkan-next
	@$(MAKE) --no-print-directory soak SOAK_SECONDS=60
	@$(MAKE) --no-print-directory run
	@echo "ci: PASS"

lint:
	@echo "== lint"
	@$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests
	@echo "lint: PASS"

# Concurrency under the thread sanitizer; a planted race proves that it would see one.
test-tsan: packages
	@Tests/run-tsan

# Seeded thread interleavings in a deterministic runtime: exploration, coverage, defects found.
test-seeds: packages
	@Tests/run-seeds

# Debian's own, unmodified Mesa NVK on the simulated GPU, in a root file system of its own below
# .build/roots (made with debootstrap, cached); the next one is Debian sid's. Needs root.
test-vulkan: packages debootstrap
	@Tests/run-vulkan trixie

test-vulkan-next: packages debootstrap
	@Tests/run-vulkan sid

# The same program on Mesa's CPU driver, which executes everything, and on its noop shim, which
# executes nothing: it must pass on the one and fail on the other.
test-vulkan-program: packages debootstrap
	@Tests/run-vulkan-lavapipe trixie

# A real systemd in a container: activation, reload, hardening, restart, watchdog. Needs root.
test-systemd: PACKAGES += systemd-container debootstrap zstd python3
test-systemd: packages
	@Tests/run-systemd

# A good client beside 100 bad ones, and every attack that we know; says what was lost.
test-hostile: packages
	@Tests/run-hostile

# Clients come, work, are killed and go; the daemon ends as it began.
SOAK_SECONDS ?= 600
soak: packages shim
	@Tests/run-soak $(SOAK_SECONDS)

# libFuzzer on the decoder, requests, ioctls, engines, configuration and shim; planted defects first.
FUZZ_SECONDS ?= 60
fuzz: packages
	@Tests/run-fuzz $(FUZZ_SECONDS)

# Address sanitizer; undefined-behaviour sanitizer for C.
test-asan: packages
	@Tests/run-asan

# How fast: binds beside Mesa's CPU driver, copies beside memcpy, as ratios taken in one run.
bench-vulkan: packages debootstrap
	@Tests/run-vulkan-benchmark

# The probe of the shim's tests on a real kernel under QEMU: what it expects is what Linux answers.
test-kernel: PACKAGES += qemu-system-x86 busybox-static kmod cpio xz-utils
test-kernel: packages
	@Tests/run-on-kernel

debootstrap:
	@command -v debootstrap >/dev/null && command -v zstd >/dev/null || { \
	  export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; \
	  apt-get install -y -qq --no-install-recommends debootstrap zstd >/dev/null; }

# The library that makes DRM programs believe in the device; gpuvmctl run finds it beside itself.
shim: packages
	@$(RELEASE) --product gpuvm-drm-shim

# Programs, shim, units, manual pages, completions and an example configuration, below DESTDIR.
install: PACKAGES += python3
install: packages shim
	@$(RELEASE) --product gpuvmd
	@$(RELEASE) --product gpuvmctl
	@PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" DESTDIR="$(DESTDIR)" \
	  systemd/install .build/release

uninstall:
	@PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" DESTDIR="$(DESTDIR)" systemd/install --remove

# Small deliberate defects, each of which must make a test fail.
test-mutants: packages
	@Tests/run-mutants

docs: packages
	@$(SWIFT) package generate-documentation --target GPUVMCore --target Fencing \
	  --target PageTables --target Device --target GPUVMDaemon

packages:
	@missing=; for p in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' \
	    || missing="$$missing $$p"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "== installing$$missing"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	@$(SWIFT) package resolve >/dev/null 2>&1 || $(SWIFT) package resolve

clean:
	rm -rf .build .build-tsan .build-asan .build-seeds* .build-mutants
