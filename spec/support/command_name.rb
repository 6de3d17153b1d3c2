# frozen_string_literal: true

require "digest"

# How a Redis command is called in messages: scripts of the engine by their file name, others with their first key.
module CommandName
  # What Sidekiq puts the identity of a process into.
  IDENTITY = /[^: ]+:\d+:\h{12}/

  SOURCES = File.expand_path("../../ext/assured_core/src", __dir__)

  # A script is several files put together, as `scripts.rs` says; the last one gives its name.
  SCRIPTS = File.read("#{SOURCES}/scripts.rs").scan(/^ +[A-Z_]+ = ("\w+"(?: & "\w+")*);$/).to_h do |(files)|
    names = files.scan(/\w+/)
    [Digest::SHA1.hexdigest(names.map { |name| File.binread("#{SOURCES}/lua/#{name}.lua") }.join), names.last]
  end.freeze

  module_function

  # @param words [Array<String>] command and arguments
  # @return [String]
  def of(words)
    name = words.first.downcase
    return "#{name} #{words[1]}".strip.sub(IDENTITY, "<process>") unless name == "evalsha"

    SCRIPTS.fetch(words[1]) { "script on #{words[3]}" }
  end
end
