# frozen_string_literal: true

require "io/console"
require_relative "frame"

# The demo on a terminal: one frame, drawn again in place.
class Screen
  COLORS = { dim: 2, bold: 1, good: 32, warn: 33, bad: 31 }.freeze
  HIDE_CURSOR = "\e[?25l"
  SHOW_CURSOR = "\e[?25h"
  # A line that is too long must not become two, or the way back up would be wrong.
  NO_WRAP = "\e[?7l"
  WRAP = "\e[?7h"

  # @param out [IO]
  # @return [Boolean]
  def self.fits?(out)
    out.tty? && ENV["TERM"] != "dumb"
  end

  # @param out [IO]
  def initialize(out)
    @out = out
    @color = ENV["NO_COLOR"].to_s.empty?
    @height = 0
  end

  # @param scene [Scene]
  # @return [void]
  def update(scene)
    rows, columns = size
    lines = Frame.new(scene, columns).lines.first(rows - 2)
    text = lines.map { |line| "#{paint(line, columns)}\e[K\n" }.join
    @out.print(HIDE_CURSOR, NO_WRAP, up, text, "\e[J", WRAP)
    @out.flush
    @height = lines.size
  end

  # @return [void]
  def close
    @out.print(SHOW_CURSOR)
    @out.flush
  end

  private

  def size
    size = @out.winsize
    # A terminal that does not know its size says 0.
    size.all?(&:positive?) ? size : [24, 80]
  end

  def up
    @height.zero? ? "\r" : "\r\e[#{@height}A"
  end

  # @param line [Array<Array(String, Symbol)>] pieces of text, each with a style or nil
  def paint(line, columns)
    left = columns
    line.map do |text, style|
      text = text[0, left]
      left -= text.size
      @color && style ? "\e[#{COLORS.fetch(style)}m#{text}\e[0m" : text
    end.join
  end
end
