# frozen_string_literal: true

require "fileutils"
require "open3"
require "rbconfig"
require "tmpdir"
require_relative "../support/faketime"

# It asks for each thing by using it once. Here things lie where they are looked for, and do not work.
RSpec.describe "bin/setup" do
  let(:root) { File.expand_path("../..", __dir__) }
  let(:folder) { Dir.mktmpdir("assured-setup") }
  let(:broken) { "echo 'the shim leads nowhere' >&2; exit 127" }

  after { FileUtils.remove_entry(folder) }

  # @return [Array(String, Process::Status)] what was said
  def bash(script, environment)
    Open3.capture2e(Bundler.original_env.merge(environment), "bash", "-euo", "pipefail", "-c", script,
                    chdir: root, unsetenv_others: true)
  end

  # @return [String, nil] what was said last where the answer is no, nil where it is yes
  def refusal(probe, environment = {})
    said, status = bash("source bin/probes.bash; ask #{probe} || echo \"no: $reason\"", environment)
    expect(status).to be_success, said
    said[/no: (.*)/, 1]
  end

  # @return [Hash] environment in which this command comes first
  def shim(command, script)
    File.write(File.join(folder, command), "#!/bin/sh\n#{script}\n", perm: 0o755)
    { "PATH" => "#{folder}:#{ENV.fetch("PATH")}" }
  end

  # @return [String] its path
  def real(command)
    ENV.fetch("PATH").split(":").map { |path| File.join(path, command) }.find { |file| File.executable?(file) }
  end

  # A library that this machine would load, but for its architecture.
  def foreign_library(file)
    FileUtils.cp(Dir["#{root}/lib/sidekiq_assured_jobs/*.so"].first, file)
    other = RbConfig::CONFIG["host_cpu"] == "aarch64" ? 62 : 183
    File.open(file, "r+b") { |library| library.pwrite([other].pack("v"), 18) }
    file
  end

  {
    "has_cargo" => "cargo", "has_ruby" => "ruby", "has_compiler" => "cc", "has_make" => "make", "has_gems" => "bundle",
    "has_bundler" => "bundle", "has_redis_server" => ENV.fetch("REDIS_SERVER", "redis-server")
  }.each do |probe, command|
    it "asks by #{probe} whether #{command} works" do
      expect(refusal(probe)).to be_nil
      expect(refusal(probe, shim(command, broken))).to eq("the shim leads nowhere")
      expect(refusal(probe, shim(command, "exit 0"))).to be_a(String)
    end
  end

  it "refuses versions that are too old" do
    expect(refusal("has_cargo", shim("cargo", "echo cargo 1.70.0"))).to eq("found: 1.70.0")
    expect(refusal("has_ruby", shim("ruby", "echo 2.7.8"))).to eq("found: 2.7.8")
  end

  it "asks whether the compiler finds the C library, and a linker" do
    expect(refusal("has_libc_headers")).to be_nil
    bare = shim("cc", "exec #{real("cc")} -nostdinc -isystem #{folder} \"$@\"")
    expect([refusal("has_compiler", bare), refusal("has_libc_headers", bare)])
      .to match([nil, /stdlib\.h: No such file/])
    no_linker = shim("cc", "case \"$*\" in *' -c '*) exec #{real("cc")} \"$@\";; *) #{broken};; esac")
    expect([refusal("has_compiler", no_linker), refusal("has_libc_headers", no_linker)])
      .to eq([nil, "the shim leads nowhere"])
  end

  it "asks whether Ruby's headers compile" do
    expect(refusal("has_ruby_headers")).to be_nil
    File.write(File.join(folder, "ruby.h"), '#include "not/there.h"')
    elsewhere = shim("ruby", "echo #{folder}")
    expect(refusal("has_ruby_headers", elsewhere)).to match(%r{not/there\.h: No such file})
  end

  it "chooses the libfaketime that steps a clock" do
    skip "libfaketime is not installed" unless Faketime.library
    empty = File.join(folder, "empty.so").tap { |file| FileUtils.touch(file) }
    useless = [empty, foreign_library(File.join(folder, "foreign.so"))]

    expect(refusal("has_libfaketime")).to be_nil
    expect(Faketime.first_that_works([*useless, Faketime.library])).to eq(Faketime.library)
    expect(Faketime.first_that_works(useless)).to be_nil
  end

  describe "about libclang" do
    let(:own) { Dir["/usr/lib/llvm-*/lib/libclang.so*", "/usr/lib/llvm-*/lib/libclang-[0-9]*.so*"].max }
    let(:place) { "#{root}/tmp/setup_spec/place" }
    # Neither in the folder of the build nor with a change between: bindgen is built anew for other values of these.
    let(:environment) do
      { "CARGO_TARGET_DIR" => "#{root}/tmp/setup_spec/target", "LIBCLANG_PATH" => place,
        "BINDGEN_EXTRA_CLANG_ARGS" => "-nobuiltininc -isystem #{place}/include" }
    end

    before do
      FileUtils.rm_rf(place)
      FileUtils.mkdir_p(place)
    end

    it "finds the one that is here" do
      expect(refusal("has_libclang")).to be_nil
    end

    it "asks whether it loads and finds the compiler's own headers" do
      skip "there is no libclang in /usr/lib/llvm-*" unless own
      # Another library, although its name begins alike.
      FileUtils.cp(own, "#{place}/libclang-cpp.so.14")
      expect(refusal("has_libclang", environment)).to match(/Unable to find libclang: "couldn't find any .*\[\]/)
      FileUtils.touch("#{place}/libclang.so")
      expect(refusal("has_libclang", environment)).to match(/Unable to find libclang: .*libclang\.so: failed to fill/)
      foreign_library("#{place}/libclang.so")
      expect(refusal("has_libclang", environment)).to match(/Unable to find libclang: .* could not be opened/)

      # As the Python wheel has it: a library alone.
      FileUtils.cp(own, "#{place}/libclang.so")
      expect(refusal("has_libclang", environment)).to match(/'stddef\.h' file not found/)
      FileUtils.ln_s(bash("gcc -print-file-name=include", {}).first.chomp, "#{place}/include")
      expect(refusal("has_libclang", environment)).to be_nil
    end
  end

  it "says what is missing, what was said last, and what to do" do
    shim("apt-get", "exit 0")
    said, status = bash("bin/setup", shim("cc", broken))

    expect(status.exitstatus).to eq(1)
    expect(said).to include(
      "  - a C compiler (at #{folder}/cc): the shim leads nowhere\n", "pip install --target DIR libclang\n"
    ).and match(/apt-get install gcc libc6-dev ruby-dev( libfaketime)? libclang-dev$/)
  end

  it "says why the extension was not built" do
    full = "case \"$*\" in *sidekiq_assured_jobs*) echo 'error: no room' >&2; exit 101;; esac"
    said, status = bash("bin/setup", shim("cargo", "#{full}; exec #{real("cargo")} \"$@\""))

    expect(status.exitstatus).to eq(1)
    expect(said.lines.last).to eq("The extension was not built: error: no room\n")
  end
end
