# frozen_string_literal: true

require "cgi"

# Draws groups of horizontal bars as SVG, with the value at the end of each bar. Follows the reader's choice of
# a light or dark page.
class BarChart
  WIDTH = 760
  LEFT = 16
  # Room behind the longest bar for its value.
  RIGHT = 76
  TOP = 44
  BAR = 16
  GAP = 2
  GROUP_LABEL = 24
  GROUP_GAP = 14
  LEGEND_LINE = 20
  AXIS = 46
  TICKS = 5

  # Light, dark.
  COLOURS = [%w[#8a8f98 #8b949e], %w[#c77d18 #d99a3d], %w[#1a6fc4 #4c9be8], %w[#3f8f5f #5fb583],
             %w[#8c5fb0 #b08ad0], %w[#b8484f #dd7a80]].freeze

  # @param title [String]
  # @param unit [String] of the axis
  # @param series [Array<String>] what the bars of each group stand for
  # @param groups [Hash{String => Array<Numeric>}] a value for each series
  def initialize(title:, unit:, series:, groups:)
    @title = title
    @unit = unit
    @series = series
    @groups = groups
    @step = step
    @most = (groups.values.flatten.max / @step).ceil * @step
  end

  # @return [String]
  def to_svg
    legend = @series.size * LEGEND_LINE
    first = TOP + legend + 8
    last = first + (@groups.size * group_height) - GROUP_GAP
    height = last + AXIS
    <<~SVG
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 #{WIDTH} #{height}" width="#{WIDTH}" height="#{height}" role="img" aria-label="#{escape(@title)}">
      <style>
      #{style}
      </style>
      #{text(LEFT, 26, @title, "title")}
      #{[*legend_lines, *axis(first, last), *bars(first)].join("\n")}
      </svg>
    SVG
  end

  private

  # A round number that divides the axis into a handful of parts.
  def step
    rough = @groups.values.flatten.max / TICKS.to_f
    power = 10**Math.log10(rough).floor
    [1, 2, 5, 10].map { |factor| factor * power }.find { |value| value >= rough }
  end

  def style
    [rules(0), "@media (prefers-color-scheme: dark) {", rules(1), "}"].join("\n")
  end

  def rules(scheme)
    ink, line = [%w[#1f2328 #d0d7de], %w[#e6edf3 #3d444d]][scheme]
    ["text { font: 13px system-ui, sans-serif; fill: #{ink}; }", ".title { font-size: 16px; font-weight: 600; }",
     ".group { font-weight: 600; }", ".grid { stroke: #{line}; }",
     *@series.each_index.map { |i| ".s#{i} { fill: #{COLOURS[i % COLOURS.size][scheme]}; }" }].join("\n")
  end

  def legend_lines
    @series.each_with_index.flat_map do |name, i|
      y = TOP + (i * LEGEND_LINE)
      [%(<rect class="s#{i}" x="#{LEFT}" y="#{y}" width="12" height="12"/>), text(LEFT + 20, y + 11, name)]
    end
  end

  def axis(first, last)
    ticks = (0..@most).step(@step).flat_map do |value|
      x = x_of(value)
      [%(<line class="grid" x1="#{x}" x2="#{x}" y1="#{first}" y2="#{last + 4}"/>),
       text(x, last + 20, grouped(value), nil, "middle")]
    end
    [*ticks, text(x_of(@most / 2.0), last + 40, @unit, nil, "middle")]
  end

  def bars(first)
    @groups.each_with_index.flat_map do |(label, values), group|
      top = first + (group * group_height)
      [text(LEFT + 4, top + 16, label, "group"), *values.each_with_index.flat_map { |value, i| bar(value, i, top) }]
    end
  end

  def bar(value, index, top)
    y = top + GROUP_LABEL + (index * (BAR + GAP))
    width = (x_of(value) - LEFT).round(1)
    [%(<rect class="s#{index}" x="#{LEFT}" y="#{y}" width="#{width}" height="#{BAR}"/>),
     text(LEFT + width + 6, y + BAR - 4, grouped(value.round))]
  end

  def group_height
    GROUP_LABEL + (@series.size * (BAR + GAP)) + GROUP_GAP
  end

  def x_of(value)
    (LEFT + (value.to_f / @most * (WIDTH - LEFT - RIGHT))).round(1)
  end

  def grouped(number)
    number.to_i.to_s.reverse.scan(/\d{1,3}/).join(",").reverse
  end

  def text(horizontal, vertical, content, css = nil, anchor = nil)
    attributes = { class: css, "text-anchor": anchor }.compact.map { |name, value| %( #{name}="#{value}") }.join
    %(<text x="#{horizontal.round(1)}" y="#{vertical}"#{attributes}>#{escape(content)}</text>)
  end

  def escape(content)
    CGI.escapeHTML(content)
  end
end
