# frozen_string_literal: true

# Builds the extension for `gem install`. Where the rb_sys gem is there (developers, cross builds of
# precompiled gems) it does the work; elsewhere a small Makefile calls cargo, because rb_sys cannot be a
# dependency: it brings gems that an offline machine does not have.

require "mkmf"

RUST_VERSION = "1.88"

def plain_makefile
  cargo = find_executable(ENV.fetch("CARGO", "cargo")) or abort <<~MISSING
    sidekiq-assured-jobs has a native extension in Rust, and found no cargo.
    Install Rust #{RUST_VERSION} or newer (https://rustup.rs) and libclang (Debian: libclang-dev), then try again.
  MISSING

  # RubyGems' builders set this variable; rb_sys goes by the same sign.
  by_rubygems = ENV.key?("SOURCE_DATE_EPOCH")
  profile = by_rubygems ? "release" : ENV.fetch("RB_SYS_CARGO_PROFILE", "release")
  target = ENV["CARGO_TARGET_DIR"] || File.join(Dir.pwd, "target")
  out = File.join(target, *ENV.fetch("CARGO_BUILD_TARGET", nil), profile == "dev" ? "debug" : profile)
  locked = File.exist?(File.expand_path("../../Cargo.lock", __dir__)) ? "--locked" : ""
  manifest = File.expand_path("Cargo.toml", __dir__)
  built = "libsidekiq_assured_jobs.#{RbConfig::CONFIG["SOEXT"]}"
  library = "sidekiq_assured_jobs.#{RbConfig::CONFIG["DLEXT"]}"

  makefile = dummy_makefile(__dir__).join
  makefile.sub!(/^all install static install-so install-rb:.*\n(\t.*\n)*/, "all: #{library}\n\nstatic install-rb:\n")
  makefile << <<~MAKE
    target_prefix = /sidekiq_assured_jobs
    RUBYARCHDIR = $(sitearchdir)$(target_prefix)
    .PHONY: FORCE
    FORCE: ;
    #{library}: FORCE
    \t#{cargo} build --lib --profile #{profile} #{locked} --manifest-path #{manifest} --target-dir #{target}
    \t$(COPY) #{out}/#{built} $@
    install-so install: #{library}
    \t$(MAKEDIRS) $(RUBYARCHDIR)
    \t$(INSTALL_PROG) #{library} $(RUBYARCHDIR)
  MAKE
  # RubyGems would keep 250 MB of build products.
  makefile << "\t-$(RM_RF) #{target}\n" if by_rubygems
  File.write("Makefile", makefile)
end

begin
  raise LoadError if ENV["SAJ_NO_RB_SYS"]

  require "rb_sys/mkmf"
  create_rust_makefile("sidekiq_assured_jobs/sidekiq_assured_jobs")
rescue LoadError
  plain_makefile
end
