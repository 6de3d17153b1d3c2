# frozen_string_literal: true

require_relative "resp"

# What a proxy does that hands out client ids of its own. They fall from one connection to the next, as those may that
# come from several proxies or backends.
module FallingIds
  TOP = 1_000_000

  module_function

  # @param command [String] as the client sends it
  # @param words [Array<String>] the same
  # @return [String] as Redis understands it
  def to_redis(command, words)
    return command unless list?(words)

    words = words.first(3) + words.drop(3).map { |id| translate(id) }
    "*#{words.size}\r\n#{words.map { |word| bulk(word) }.join}"
  end

  # @param reply [String] of Redis
  # @param words [Array<String>] the command
  # @return [String] as the client knows it
  def to_client(reply, words)
    return reply.sub(/(?<=\A:)\d+/) { |id| translate(id) } if words.map(&:upcase) == %w[CLIENT ID]
    return reply unless list?(words) && reply.start_with?("$", "=")

    # Redis 3's strings say what format they are in.
    list = reply[(reply.index("\r\n") + 2)...-2].delete_prefix("txt:")
    bulk(list.gsub(/^id=\d+/) { |id| "id=#{translate(id.delete_prefix("id="))}" })
  end

  def list?(words)
    words.first(3).map(&:upcase) == %w[CLIENT LIST ID]
  end

  def translate(id)
    (TOP - id.to_i).to_s
  end

  def bulk(text)
    "$#{text.bytesize}\r\n#{text}\r\n"
  end
end
