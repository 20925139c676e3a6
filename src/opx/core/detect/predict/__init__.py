# SPDX-License-Identifier: Apache-2.0

"""What will fail, and when: levels on their way to a limit, while there is time to act.

A part of stage 2 that looks ahead where the detectors look at what is. ``predictor.step`` takes
points and gives ``Prediction``s, told once per trouble. A stream is only watched if its name
says what it measures (``naming``) and only predicted if it has a limit: one it was told, one
that its unit has, or one learned from failures. How a level got where it is (``slopes``) says
how much longer it takes at this pace; how often such a trend got there (``odds``) says how
likely it is. It must never say "prevented": that is ``learn.predictions``'s to work out.
"""
