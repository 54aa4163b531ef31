#!/bin/sh
# Build a project that nobody has read: it sees its own directory and the system's programs, and no network.
set -eu

project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
cd "$project"
printf 'int main(void) { return 0; }\n' >main.c
printf 'program: main.c\n\t$(CC) -o $@ $<\n' >Makefile

clawjail run --profile offline -- make
# The result is an ordinary file of yours.
./program && echo "built and run"
