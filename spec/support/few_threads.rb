# frozen_string_literal: true

require "rbconfig"
require "tmpdir"

# Limits how many threads a process has, which the kernel's own limits do not do for root.
module FewThreads
  class << self
    # @param most [Integer, nil] how many there may be besides the first one
    # @param seen [String, nil] file into which the most goes that there have been
    # @return [Hash{String => String}] environment of the process
    def env(most: nil, seen: nil)
      { "LD_PRELOAD" => library, "FEW_THREADS" => most&.to_s, "FEW_THREADS_SEEN" => seen }
    end

    private

    def library
      @library ||= begin
        dir = Dir.mktmpdir("few-threads")
        at_exit { FileUtils.remove_entry(dir) }
        build("#{dir}/few_threads.so")
      end
    end

    def build(path)
      source = File.expand_path("few_threads.c", __dir__)
      system("gcc", "-shared", "-fPIC", "-O1", "-o", path, source, "-ldl", "-lpthread", exception: true)
      path
    end
  end
end
