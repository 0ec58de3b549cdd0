"""Of the kernel in series.pyx: what is known of one series, and every number that was chosen.

Numbers marked [N] were chosen for the benchmark of Lavin and Ahmad ("Evaluating Real-Time Anomaly Detection Algorithms - The
Numenta Anomaly Benchmark", ICMLA 2015), one set for all series and profiles. Those of the slow
channel, and the others that carry no remark, are round values of which synthetic series with known shifts, spikes and seasons,
the Numenta benchmark and the Microsoft cloud monitoring data were all served well, with one set for everything.
"""

cdef extern from *:
    """
    /* the point code */
    static const double SHARE = 0.01;            /* weight that experts share anew at each point [N] */
    static const double SCALE_GAIN = 0.003;      /* slowest learning of an expert's scale: about 330 points [N] */
    static const double SCALE_CLIP = 3.0;        /* an error counts at most so many scales [N] */
    static const double FAST_GAIN = 0.3, LEVEL_GAIN = 0.05, SLOW_GAIN = 0.005;
    static const double TREND_LEVEL_GAIN = 0.2, TREND_GAIN = 0.05;  /* Holt's linear trend */
    static const double STEP_GAIN = 0.005;       /* of the mean step between values */
    static const double DAY_GAIN = 0.02, WEEK_GAIN = 0.04;          /* slowest learning of a slot of the season */
    static const double LEAST_SCALE = 0.02;      /* of the mean step between values */
    static const double LEAST_MASS = 1e-15;      /* no point costs more than 49.8 bits */
    static const double FINEST = 1e-12;          /* differences below it are never news */
    static const double FINEST_SHARE = 1e-9;     /* the same as a share of the value: what single precision cannot tell */
    static const double RANGE_GAIN = 0.9997;     /* forgetting of the long-run distribution */
    static const double RANGE_EMPTY = 0.05;      /* count of a cell that was never met */
    static const double VALUE_MOST = 1e300;      /* values beyond are judged as this one: no sum overflows */
    static const double TABLE_MOST = 1e38;       /* the same for single precision */
    /* the window code */
    static const double SHAPE_EMPTY = 0.05;      /* count of a level that a shape never had [N] */
    static const double SHAPE_NEW = 10.0;        /* bits from which a window is a new shape [N] */
    static const double SHAPE_GAIN = 0.01;
    /* calibration */
    static const double SMOOTH_GAIN = 0.25;      /* the point code enters as a mean over about 4 points [N] */
    #define CALIBRATOR_GROWTH (1.0 / 0.9999)     /* forgetting: about 10,000 points [N]... */
    #define SHIFT_GROWTH (1.0 / 0.9995)          /* ...and 2,000, to forget the time before a season was known */
    static const double EXTREME = 3.0;           /* beyond p = 1e-3 a point enters with less weight [N] */
    static const double TAIL_MOST = 30.0;        /* -log10 p, at most */
    static const double WEIGHT_MOST = 1e4;       /* growing weights are scaled back here, long before precision suffers */
    /* the slow channel */
    static const double SEASON_FORGETS = 0.9998; /* of the regression on the time of day [N] */
    static const double SEASON_PRIOR = 10.0;     /* variance of a coefficient before the first point, in those of the noise */
    static const double SEASON_TRACE = 100.0;    /* forgetting stops when so little is known */
    static const double PAST_GAIN = 0.002;       /* slowest learning: 500 points */
    static const double PAST_WEEK_GAIN = 0.05;
    static const double PAST_CLIP = 2.0;         /* an error teaches at most so many scales */
    static const double PAST_ROUGH = 0.2;        /* the mean error before clipping, as a floor of the scale */
    static const double DEVIATION_MOST = 1e9;    /* scales */
    static const double PAST_MOST = 1e302;       /* an expectation beyond has overflowed: begin anew */
    static const double PAST_BAND = 3.5;         /* scales: 99 % of normal noise, whose mean error is one */
    static const double FEW_GAIN = 0.5;          /* mean of about 2 points, for the rank of a point */
    static const double MANY_GAIN = 0.05, MANY_CLIP = 6.0, MANY_STRETCH = 4.0;  /* of about 40 points, for lasting shifts */
    static const double FRESH = 1.3;             /* a spike counts beyond so many times those of the past */
    static const double FRESH_FORGETS = 0.9995;
    static const double RANK_POINT = 0.5;        /* of the point code in the rank of a point */
    static const double SHIFT_PRICE = 2.75, SPIKE_PRICE = 4.0;  /* powers of ten: they alarm at this rareness [N] */
    static const double SUDDEN_RATE_SHARE = 0.75;               /* price of many points a day in these */
    /* evidence and level */
    static const double LEVEL_UNIT = 2.85;       /* the usual alarm level [N] */
    static const double LESSER = 0.75;           /* of the lesser of the point and the record code */
    static const double RECORD_HAIR = 0.01;      /* a record by less than this share of the range is hardly one... */
    static const double RECORD_FORESEEN = 4.0;   /* ...nor one that is fewer scales from what the long past expects */
    static const double PAST_SHARE = 0.5, PRIOR_SHARE = 0.35;       /* of the calibrated and the plain evidence in a level [N] */
    static const double AGE = 100.0;             /* points after which a series is half trusted [N] */
    static const double RATE_SHARE = 0.5;        /* of the price of many points a day [N] */
    static const double RATE_UNIT_S = 300.0;     /* 288 points a day cost nothing */
    static const double QUIET_SHARE = 0.05;      /* after an alarm, of the points seen... [N] */
    static const double QUIET_LEAST = 30.0, QUIET_MOST = 150.0;     /* ...within these */
    static const double FLAT_PRICE = 4.0;        /* powers of ten: there are many runs [N] */
    static const double FLAT_MOST = 12.0;        /* level of a flatline, at most: above all alarm levels */
    static const double POINT_BAR = 5.4;         /* rank from which a single point alarms, at the usual alarm level */
    static const double SCORE_HALF = 3.0;        /* doublings of rank beyond the bar that are half of the way to the end of a score */
    static const double RUN_SHARE = 0.5;         /* a run of surprising points: above this share of the alarm level */
    /* the expected range */
    static const double BAND_MISS = 0.01;        /* share of points that fall outside */
    static const double BAND_FIRST = 6.5;        /* scales that hold 99 % of a double Lomax density of index 4 */
    static const double BAND_GAIN = 0.1, BAND_GAIN_YOUNG = 0.3;
    static const double BAND_LEAST = 1.0, BAND_MOST = 100.0;
    /* pauses */
    static const double GAP_GROWTH = 1.0 / 0.9995;                  /* forgetting: about 2,000 pauses */
    static const double GAP_TAIL = 0.02;         /* share of the longest pauses, from which the tail is judged */
    static const double GAP_PRIOR_OCTAVES = 1.0 / 6.0, GAP_PRIOR_PAUSES = 12.0;
    static const double GAP_LONE = 8.0;          /* so many pauses may be outages, which say nothing of longer ones */
    static inline void fetch_ahead(const void* p) { __builtin_prefetch(p, 1); }
    """
    const double SHARE, SCALE_GAIN, SCALE_CLIP, FAST_GAIN, LEVEL_GAIN, SLOW_GAIN, TREND_LEVEL_GAIN, TREND_GAIN, STEP_GAIN
    const double DAY_GAIN, WEEK_GAIN, LEAST_SCALE, LEAST_MASS, FINEST, FINEST_SHARE, RANGE_GAIN, RANGE_EMPTY, VALUE_MOST
    const double TABLE_MOST, SHAPE_EMPTY, SHAPE_NEW, SHAPE_GAIN, SMOOTH_GAIN, EXTREME
    const double TAIL_MOST, WEIGHT_MOST, PAST_SHARE, PRIOR_SHARE, AGE, RATE_SHARE, RATE_UNIT_S, QUIET_SHARE, QUIET_LEAST
    const double QUIET_MOST, FLAT_PRICE, FLAT_MOST, RUN_SHARE, BAND_MISS, BAND_FIRST, BAND_GAIN, BAND_GAIN_YOUNG, BAND_LEAST
    const double BAND_MOST
    const double GAP_GROWTH, GAP_TAIL, GAP_PRIOR_OCTAVES, GAP_PRIOR_PAUSES, GAP_LONE
    const double SEASON_FORGETS, SEASON_PRIOR, SEASON_TRACE, PAST_GAIN, PAST_WEEK_GAIN, PAST_CLIP, PAST_ROUGH, DEVIATION_MOST
    const double PAST_MOST, PAST_BAND, FEW_GAIN, MANY_GAIN, MANY_CLIP, MANY_STRETCH, FRESH, FRESH_FORGETS, RANK_POINT, SHIFT_PRICE
    const double SPIKE_PRICE, SUDDEN_RATE_SHARE, LEVEL_UNIT, LESSER, RECORD_HAIR, RECORD_FORESEEN, POINT_BAR
    const double SCORE_HALF
    void fetch_ahead(const void* p) noexcept nogil

cdef enum:
    LAST, FAST, LEVEL, SLOW, TREND, DAY, WEEK, DAY_CHANGE, MOMENTUM, RANGE  # experts
    EXPERT_COUNT
    POINT_EXPERTS = RANGE      # those that name a value
    DAY_SLOTS = 96             # a quarter of an hour each
    WEEK_SLOTS = 168           # an hour each
    SLOT_COUNT_MOST = 255
    SCALE_COUNT_MOST = 1000    # more than 1 / SCALE_GAIN
    CELLS = 64                 # of the long-run distribution
    CELLS_FROM = 20            # points after which it begins
    WINDOW = 52                # points of the window code, and of the chart [N]
    LEVELS = 6                 # of the range seen so far [N]
    SHAPES = 32                # kinds of windows that are remembered [N]
    SHAPE_BIT = 1024           # unit of a stored logarithm
    SHARE_UNIT = 65535
    BINS = 160                 # of a calibrator
    SHORT_BINS = 80            # of those of the slow channel
    FEATURES = 7               # of the regression on the time of day: 1, sine and cosine of one, two and three turns
    COVARIANCES = 28           # of them, row by row up to the diagonal
    PASTS = 3                  # what the long past expects: its level; by the time of day; by the hour of the week as well
    YOUNG_LEVEL = 300          # points before the evidence alarms...
    YOUNG_SUDDEN = 100         # ...and before shifts and spikes do
    QUIET_SPIKE = 10           # points of silence that hold for a new spike too, and of an excursion of the rank
    POINT_MINUTES = 28800      # of event time for each alarm of the point channel: one in 20 days...
    POINT_BURST = 3            # ...of which so many may come at once
    RUNS = 3                   # contexts of the flatline code: after no repeat, up to four, more
    FLAT_LEAST = 6             # equal points after the first that a flatline needs [N]
    YOUNG = 10                 # points while scales are taken twice as wide
    RECORD_POINTS = 150        # points after which a record counts [N]
    GAP_BINS = 20              # half octaves of a pause over the usual one
    BY_VALUE = 0
    BY_PATTERN = 1
    BY_RANGE = 2
    BY_FLATLINE = 3
    BY_SHIFT = 4
    BY_POINT = 5
    MINUTE_NS = 60000000000
    QUARTER_HOUR_S = 900
    HOUR_S = 3600
    DAY_S = 86400
    WEEK_S = 604800
    MONDAY_S = 259200          # 1970-01-01 was a Thursday
    RUN_MOST = 2000000000


cdef struct Calibrator:
    # A decaying histogram of a surprise, and its tail: bins above `first`, together at most a given share.
    double total      # weight of all that was seen
    double weight     # of the next one
    double tail
    double tail_sum   # of bin centres
    int32_t first


cdef struct Series:
    uint64_t id
    uint64_t last_ns
    uint64_t points
    uint64_t quiet_until       # points
    uint64_t alarmed           # points before the newest alarm and that one; 0: none
    uint64_t since_ns          # first of the run of surprising points; 0: none
    uint64_t side              # points before it went to this side of what the long past expects
    uint64_t side_ns
    uint64_t flat_ns           # first of the run of equal ones
    # where the experts stand; from here on doubles only, see `gaps`
    double prev, before        # the newest value and the one before it
    double fast, level, slow, trend_level, trend
    double change              # mean step between values
    double least               # smallest step that was not 0
    double origin              # the first value: tables in single precision are relative to it
    double low, high           # of all values
    double step_s              # usual distance in time
    double band                # scales in the expected range
    double smooth              # mean point code
    double weights[EXPERT_COUNT]
    double scales[POINT_EXPERTS]
    # flatline
    double run_bits
    double run_seen[RUNS]
    double run_equal[RUNS]
    # long-run distribution
    double cells_low, cell_width, cells_total, cell_weight
    # the slow channel: what the long past expects
    double past_level
    double season[FEATURES]
    double covariance[COVARIANCES]
    double errors[PASTS]       # mean, clipped
    double rough[PASTS]        # mean, as they were
    double few, many           # mean deviations in scales, signed
    double widest              # largest deviation, fading
    # pauses between points
    double gap_total, gap_weight
    float gaps[GAP_BINS]       # here end the running values, doubles all, which are stored as one column
    uint16_t scale_counts[POINT_EXPERTS]
    uint8_t flat_told
    uint32_t run               # repeats of the newest value
    uint32_t over              # points before the newest one whose rank was at the bar, its low 32 bits
    uint32_t point_minute      # when alarms of the point channel are earned again, in minutes of event time
    # the window code
    uint8_t counts[LEVELS]     # how many have it
    uint8_t shape_count
    uint8_t day_slot           # of the newest point
    int16_t codes[LEVELS][SHAPES]   # log2 of a shape's share, 1/SHAPE_BIT
    float uses[SHAPES]
    uint16_t shares[SHAPES][LEVELS]  # 1/SHARE_UNIT
    Calibrator point_code, window_code, evidence, spike, shift
    float point_bins[BINS]
    float window_bins[BINS]
    float evidence_bins[BINS]
    float spike_bins[SHORT_BINS]
    float shift_bins[SHORT_BINS]
    float cells[CELLS]
    # seasons: mean and mean deviation of a slot, and how many points it had
    float day[DAY_SLOTS]
    float week[WEEK_SLOTS]
    float past_week[WEEK_SLOTS]      # of the slow channel: beyond what the time of day says
    uint16_t day_scale[DAY_SLOTS]    # see `short_of`
    uint16_t week_scale[WEEK_SLOTS]
    uint8_t day_counts[DAY_SLOTS]
    uint8_t week_counts[WEEK_SLOTS]
    # newest points, for window and chart
    double values[WINDOW]
    float gaps_s[WINDOW]       # time since the point before
    int16_t ahead[WINDOW]      # expected minus value, see `signed_short_of`
    uint16_t reach[WINDOW]     # upper end of the range minus expected, see `short_of`


cdef struct Judged:
    # What one point was worth.
    double bits, rank, tail, evidence, level, expected, low, high
    double tail_told, evidence_told  # of the term that raised the level
    double spike_level               # of a new spike alone; 0: none
    bint by_past                     # told by the slow channel
    double past_expected, past_reach # its expectation, and half of its range
    int cause, expert
    bint alarms
    uint64_t since_ns
    uint64_t points                  # of the series, with this one
