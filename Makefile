# The front door; Meson builds.
.PHONY: all packages test clean

all: build/build.ninja
	ninja -C build

build/build.ninja:
	meson setup build

packages:
	tools/install-packages

test: packages
	tools/run-tests

clean:
	rm -rf build build-sanitize
