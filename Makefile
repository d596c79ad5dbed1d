# The front door; Meson builds.
.PHONY: all deps packages test clean

all: deps build/build.ninja
	ninja -C build

build/build.ninja: | deps
	meson setup build

deps:
	tools/fetch-duckdb

packages:
	tools/install-packages

test: packages
	tools/run-tests

clean:
	rm -rf build build-sanitize
