# frozen_string_literal: true

# Redis's wire format (versions 2 and 3), as far as a proxy has to understand it.
module Resp
  module_function

  # @param socket [IO]
  # @return [String, nil] one command or one reply, whole; nil at the end of the stream
  def read(socket)
    line = socket.gets("\r\n") or return
    size = line[1..].to_i
    case line[0]
    when "$", "=", "!" then size.negative? ? line : line + socket.read(size + 2)
    when "*", "~", ">" then line + Array.new([size, 0].max) { read(socket) }.join
    when "%" then line + Array.new(2 * size) { read(socket) }.join
    else line
    end
  end

  # @param command [String] array of strings, as clients send it
  # @return [Array<String>]
  def words(command)
    words = []
    at = command.index("\r\n") + 2
    while at < command.size
      from = command.index("\r\n", at) + 2
      size = command[at + 1...from].to_i
      words << command[from, size]
      at = from + size + 2
    end
    words
  end
end
