# frozen_string_literal: true

# Builds the extension for `gem install`. Where the rb_sys gem is there (developers, cross builds of
# precompiled gems) it does the work; elsewhere a small Makefile calls cargo, because rb_sys cannot be a
# dependency: it brings gems that an offline machine does not have.

require "mkmf"

RUST_VERSION = "1.88"

def cargo
  find_executable(ENV.fetch("CARGO", "cargo")) or abort <<~MISSING
    sidekiq-assured-jobs has a native extension in Rust, and found no cargo.
    Install Rust #{RUST_VERSION} or newer (https://rustup.rs) and libclang (Debian: libclang-dev), then try again.
  MISSING
end

# RubyGems' builders set this variable; rb_sys goes by the same sign.
def by_rubygems?
  ENV.key?("SOURCE_DATE_EPOCH")
end

# @return [Array(String, String)] the command that builds the library, and where it puts it
def build(target)
  profile = by_rubygems? ? "release" : ENV.fetch("RB_SYS_CARGO_PROFILE", "release")
  locked = "--locked" if File.exist?(File.expand_path("../../Cargo.lock", __dir__))
  manifest = File.expand_path("Cargo.toml", __dir__)
  folder = File.join(target, *ENV.fetch("CARGO_BUILD_TARGET", nil), profile == "dev" ? "debug" : profile)
  [
    "#{cargo} build --lib --profile #{profile} #{locked} --manifest-path #{manifest} --target-dir #{target}",
    File.join(folder, "libsidekiq_assured_jobs.#{RbConfig::CONFIG["SOEXT"]}")
  ]
end

def plain_makefile
  target = ENV["CARGO_TARGET_DIR"] || File.join(Dir.pwd, "target")
  library = "sidekiq_assured_jobs.#{RbConfig::CONFIG["DLEXT"]}"
  command, built = build(target)

  makefile = dummy_makefile(__dir__).join
  makefile.sub!(/^all install static install-so install-rb:.*\n(\t.*\n)*/, "all: #{library}\n\nstatic install-rb:\n")
  makefile << <<~MAKE
    target_prefix = /sidekiq_assured_jobs
    RUBYARCHDIR = $(sitearchdir)$(target_prefix)
    .PHONY: FORCE
    FORCE: ;
    #{library}: FORCE
    \t#{command}
    \t$(COPY) #{built} $@
    install-so install: #{library}
    \t$(MAKEDIRS) $(RUBYARCHDIR)
    \t$(INSTALL_PROG) #{library} $(RUBYARCHDIR)
  MAKE
  # RubyGems would keep 250 MB of build products.
  makefile << "\t-$(RM_RF) #{target}\n" if by_rubygems?
  File.write("Makefile", makefile)
end

begin
  raise LoadError if ENV["SAJ_NO_RB_SYS"]

  require "rb_sys/mkmf"
  create_rust_makefile("sidekiq_assured_jobs/sidekiq_assured_jobs")
rescue LoadError
  plain_makefile
end
