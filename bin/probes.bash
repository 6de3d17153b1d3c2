# shellcheck shell=bash
# Asks what a machine has; bin/setup sources this. Each probe uses the thing once, as it will be used: a file of the
# right name may be of another architecture, or another thing, and a command on the PATH may be a shim that leads nowhere.

RUBY_NEEDED=3.1
CARGO_NEEDED=1.88
REDIS_NEEDED=6.2

# Runs a probe. Where it fails, `reason` is what was said last.
# shellcheck disable=SC2034 # for who asks
ask() { # PROBE
  local said
  said=$("$@" 2>&1 </dev/null) || { reason=$(last_words "$said") && false; }
}

# The last line that tells something: no hints, no frames, no "compilation terminated".
# shellcheck disable=SC2016 # not ours to expand
last_words() { # TEXT
  sed -E -e '/^[[:space:]]*(= )?(note: .*|--> .*|[0-9]* *\|.*|from .*)?$/d' \
    -e '/^(compilation terminated|collect2: error: ld returned|Run `bundle install`)/d' \
    -e '/^(error: could not compile|warning: build failed)/d' \
    -e 's/^[^ ]*: line [0-9]+: //; s/^[[:space:]]*//' <<<"$1" | tail -n 1
}

at_least() { # VERSION NEEDED
  [[ $(printf '%s\n%s\n' "$2" "$1" | sort --version-sort | head -n 1) == "$2" ]] || { echo "found: $1" && false; }
}

has_ruby() {
  local version
  version=$(ruby -e 'print RUBY_VERSION') && at_least "$version" "$RUBY_NEEDED"
}

has_cargo() {
  local version
  version=$(cargo --version) && version=${version#cargo } && at_least "${version%% *}" "$CARGO_NEEDED"
}

# Rust links with cc; the crates with C in them take CC where it is set.
compiles() { # SOURCE FLAGS...
  local compiler
  read -ra compiler <<<"${CC:-cc}"
  "${compiler[@]}" -x c -w -c -o probe.o "${@:2}" - <<<"$1" && [[ -s probe.o ]]
}

links() { # SOURCE
  compiles "$1" && cc -o probe probe.o && [[ -s probe ]]
}

in_scratch() { # COMMAND...
  local folder status=0
  folder=$(mktemp -d)
  (cd "$folder" && "$@") || status=1
  rm -r "$folder"
  return "$status"
}

has_compiler() {
  in_scratch compiles 'int main(void) { return 0; }'
}

has_libc_headers() {
  in_scratch links $'#include <stdlib.h>\nint main(void) { return abs(-3) - 3; }'
}

has_ruby_headers() {
  local folders
  mapfile -t folders < <(ruby -rrbconfig -e 'puts RbConfig::CONFIG.values_at("rubyhdrdir", "rubyarchhdrdir")')
  in_scratch compiles '#include <ruby.h>' "${folders[@]/#/-I}"
}

has_make() {
  [[ $(printf 'all:\n\t@echo made\n' | make -f -) == made ]]
}

# What the build does, on one line of C: see ext/libclang_probe. What cargo compiles for it the build needs, too.
has_libclang() {
  RUST_BACKTRACE=0 cargo build --locked --profile "${PROFILE:-release}" --package libclang-probe \
    --target-dir "${CARGO_TARGET_DIR:-target}"
}

has_bundler() {
  [[ $(bundle --version) =~ [0-9]+\.[0-9] ]]
}

# Bundler resolves against every gem on the machine, those of Debian's packages included. A Gemfile.lock that
# was written on another machine may name other versions than those, hence the second question.
has_gems() {
  loads_gems >/dev/null 2>&1 || bundle install --local --quiet && loads_gems
}

loads_gems() {
  [[ $(bundle exec ruby -e '
    Bundler.load.specs.each do |spec|
      next if spec.source.is_a?(Bundler::Source::Path)
      abort "#{spec.full_name} is not built for this Ruby" if spec.missing_extensions?
    end
    %w[sidekiq redis rspec/core rake].each { |name| require name }
    print "loaded"
  ') == loaded ]]
}

has_redis_server() {
  local version
  version=$(ruby -r./spec/support/redis_server -e '
    begin
      server = RedisServer.new
      TCPSocket.open("127.0.0.1", server.port) do |socket|
        socket.write("INFO server\r\nQUIT\r\n")
        print socket.read[/^redis_version:(\S+)/, 1]
      end
    rescue StandardError => e
      abort e.message
    ensure
      server&.remove
    end
  ') && at_least "$version" "$REDIS_NEEDED"
}

# For the specs that step a process's clock.
has_libfaketime() {
  ruby -r./spec/support/faketime -e 'Faketime.library or abort "none of #{Faketime::FILES} works"'
}
