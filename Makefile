# The front door; Meson builds.
.PHONY: all help packages deps build demo run test torture bench clean

all: build

help:
	@echo 'make demo   installs what is missing, builds, and runs a download from end to end; leaves demo/result.csv'
	@echo 'make test   installs what tests need, and runs them all'
	@echo 'make torture  kills, freezes and cuts off everything: ROUNDS=200 SEED=... (ROUND=7: that one alone)'
	@echo 'make        builds build/downloads-server and build/downloads-worker (make packages installs what that needs)'
	@echo 'make run    keeps a server up on port 8000'
	@echo 'make bench  measures us against DuckDB and against the limits: bench/RESULTS.md (FULL=1: large sizes)'

packages:
	tools/install-packages

deps:
	tools/fetch-duckdb
	tools/fetch-swagger-ui

build/build.ninja: | deps
	meson setup build

build: deps build/build.ninja
	ninja -C build

demo run: packages
	@$(MAKE) --no-print-directory build
	tools/$@

test:
	tools/install-packages test
	tools/run-tests

torture: build
	tools/install-packages test
	BUILD_DIR=$(CURDIR)/build TORTURE_LONG=1 TORTURE_ROUNDS=$(or $(ROUNDS),200) TORTURE_SEED=$(SEED) TORTURE_ROUND=$(ROUND) \
		/usr/bin/python3 -m pytest -v -s -p no:cacheprovider tests/torture

bench: build
	tools/install-packages test
	BUILD_DIR=$(CURDIR)/build /usr/bin/python3 bench/run.py $(if $(FULL),--full)

clean:
	rm -rf build build-sanitize demo .cache/bench
