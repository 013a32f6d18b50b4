"""Aligns faces as FFHQ does, and puts them back: landmarks, the frame, resampling, the detector, pasting.

`landmarks` reads the points of a face, `frame` computes the transform that they give, `warp` resamples an image by it,
`paste` reverses that, and `detector` finds the points where nobody gives them.

Every transform is six numbers [a, b, c, d, e, f]: a point (x, y) of the image goes to (a x + b y + c, d x + e y + f) of
the aligned image. The centre of the first pixel is (0, 0) on both sides, as in dlib and OpenCV.
"""
